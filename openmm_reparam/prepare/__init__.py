"""From a file or a sequence to a System."""
