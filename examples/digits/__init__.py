"""A classifier of handwritten digits that is trained by HTTP calls: `python -m examples.digits --help`."""
