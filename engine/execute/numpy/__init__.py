"""The NumPy executor: lowering, kernels and the runner."""
