"""The HTTP server: protocol, middleware, content negotiation, compression and the fast path."""
