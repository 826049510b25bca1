"""Checks of gradients against finite differences and complex steps."""
