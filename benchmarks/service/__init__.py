"""gradd's service beside others: servers as processes, clients on the loopback."""
