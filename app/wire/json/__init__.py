"""JSON: bodies to structure and arrays, arrays to replies."""
