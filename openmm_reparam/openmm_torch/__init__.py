"""Reparametrized molecules as OpenMM Systems, by openmm-torch and the C++ plugin."""
