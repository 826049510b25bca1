"""Registered graphs: their normal form, their id, and the store."""
