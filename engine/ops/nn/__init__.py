"""Neural network ops: activations, normalisation, attention, linear layers and similarity."""
