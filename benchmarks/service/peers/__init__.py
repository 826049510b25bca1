"""Peers of gradd's service, each served by uvicorn in one process."""
