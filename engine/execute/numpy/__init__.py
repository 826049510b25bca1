"""The NumPy executor: its rewrites, kernels and the code that runs a plan."""
