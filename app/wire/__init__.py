"""Codecs: bytes to documents and arrays, and arrays to bytes. Nothing here knows what a request asks for."""
