"""Thin binaries: flags or gin, then calls of the floors below.

Benchmarks against others (peers, supernet, torch) and the parity table hold
what they measure themselves: nothing else in the house needs it.
"""
