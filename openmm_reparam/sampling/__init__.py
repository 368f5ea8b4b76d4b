"""Boltzmann sampling without data: structures with weights, free energies, biases."""
