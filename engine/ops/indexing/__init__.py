"""Ops that select, place, join and pad elements."""
