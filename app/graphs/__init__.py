"""Registered graphs: normal form, id and store."""
