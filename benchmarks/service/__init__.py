"""Benchmarks of gradd's service and its peers: servers in separate processes, clients on the loopback interface."""
