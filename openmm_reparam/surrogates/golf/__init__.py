"""Surrogates trained gradually on many molecules: Gradual Optimization Learning (GOLF)."""
