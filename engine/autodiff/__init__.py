"""Derivatives as transformations of the graph: they read nodes and add nodes, and run nothing."""
