"""Slow and low-frequency modes."""
