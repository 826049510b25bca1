"""Ops that move elements without changing them."""
