"""Activations, normalisation, attention, linear layers and similarity."""
