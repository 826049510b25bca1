"""The MessagePack codec: decodes bodies to structures and arrays, encodes replies."""
