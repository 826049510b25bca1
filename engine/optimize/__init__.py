"""Graph optimizations: they reduce the cost of a plan and do not change its results."""
