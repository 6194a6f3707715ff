"""Thin binaries: flags, gin, one call."""
