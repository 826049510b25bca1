"""Example requests of the API's description."""
