"""Hints for unknown names: similar known names, and the equivalents of names from PyTorch, NumPy and Python."""
