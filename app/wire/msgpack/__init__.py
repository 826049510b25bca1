"""MessagePack: bodies to structure and arrays, arrays to replies."""
