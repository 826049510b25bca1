"""Where a call is computed: the event loop or a worker process."""
