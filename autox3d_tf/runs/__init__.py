"""How a run goes: its directory, checkpoints, triggers, loop and binary."""
