"""Sparsity patterns of Jacobians, their colouring, and the choice of a mode."""
