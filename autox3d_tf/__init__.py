"""Architecture search and training of 3-D convolutional video networks."""

__version__ = "0.1.0"
