"""The resources: one module for what belongs together, each with a `router`."""
