"""Evaluation: several views of each clip in one pass, numbers with protocol."""
