"""From the bytes of a request to the bytes of its reply: structure, operations, cached plans."""
