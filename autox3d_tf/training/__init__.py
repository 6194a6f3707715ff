"""Training of one network: from scratch, inherited or fine-tuned weights."""
