"""What all floors stand on: checks, files, locks, scores. No TensorFlow."""
