"""Arrays only: internal coordinates, near pairs, superposition."""
