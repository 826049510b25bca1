"""Evaluation of requests, from request bytes to reply bytes: structure, operations, cached plans."""
