"""Kernels on NumPy arrays that several op families share. They do not depend on graphs."""
