"""The service: HTTP, JSON and the command line around the engine."""
