"""What the command line runs: one module for each command, and what they share."""
