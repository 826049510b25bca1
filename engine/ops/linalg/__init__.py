"""Products, factorisations and norms of matrices."""
