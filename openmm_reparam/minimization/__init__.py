"""One minimization: its stages, budget, replicas and result."""
