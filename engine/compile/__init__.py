"""From a program and a request to something that runs."""
