"""Derivatives as transformations of the graph. They read and add nodes; nothing runs."""
