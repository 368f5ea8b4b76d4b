"""Relaxation of predicted protein structures, as their pipelines run it."""
