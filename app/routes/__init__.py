"""HTTP resources. Each module defines the `router` of related resources."""
