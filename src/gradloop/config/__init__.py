"""From the command line to a checked config. Nothing here imports torch: mistakes are answered at once."""
