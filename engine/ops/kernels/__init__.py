"""Kernels on NumPy arrays that several families share. They know nothing of graphs."""
