"""Benchmarks: programs that measure, summaries of what they measured, tables made from these.

Run them from the repository's root, ``python -m benchmarks.local --list``. README.md in this folder
says what each program does and how results are kept.
"""
