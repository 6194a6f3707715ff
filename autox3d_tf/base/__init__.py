"""What all floors stand on: checks of arguments, files. Pure Python."""
