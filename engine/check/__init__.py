"""Gradients compared with differences and complex steps."""
