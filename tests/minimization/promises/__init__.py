"""Random small cases, and what OpenMM and NumPy say of them: for `test_promises`."""
