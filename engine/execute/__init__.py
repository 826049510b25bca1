"""What runs a plan. NumPy is the executor; others would stand beside it."""
