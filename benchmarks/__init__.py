"""Benchmarks of gradd against comparable libraries and services: `make bench`. Not installed with the package."""
