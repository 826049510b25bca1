"""The example requests of the API's description."""
