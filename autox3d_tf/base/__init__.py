"""What all floors stand on: checks of arguments, files, locks. Pure Python."""
