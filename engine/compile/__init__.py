"""Compilation of a program and a request to executable plans."""
