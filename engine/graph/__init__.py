"""The typed graph: tensors, nodes, primitives with their traits, and the registry of ops."""
