"""The HTTP server around the routes."""
