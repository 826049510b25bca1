"""What gradd's service is measured against, each served by uvicorn in one process."""
