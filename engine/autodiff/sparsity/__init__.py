"""Sparsity patterns of Jacobians, their colouring, and the directions of a mode."""
