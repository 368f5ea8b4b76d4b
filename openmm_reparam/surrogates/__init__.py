"""Potentials from quantum chemistry, learned ones, and cheap ones that stand in for them."""
