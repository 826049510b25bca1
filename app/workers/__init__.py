"""Dispatch of calls to the event loop or to worker processes."""
