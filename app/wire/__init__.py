"""Codecs: decode request bodies to structures and arrays, and encode replies. They do not depend on the operation."""
