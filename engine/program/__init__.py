"""Programs as users write them, and their trace to a typed graph."""
