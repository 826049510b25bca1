"""The store of registered graphs, in SQLite or PostgreSQL."""
