"""Real functions, each written once for PyTorch, for JAX and as a graph, whose derivatives the server must agree on."""
