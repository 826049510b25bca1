"""Hints for names that nobody defined: similar names, and names of PyTorch, NumPy and Python."""
