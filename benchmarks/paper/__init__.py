"""The experiments of the paper: its figures 4, 5 and 6 with true energies, and synthetic coils."""
