"""A search for the request that holds the event loop longest.

`seeds` makes small requests, `growth` makes larger ones of them, `probe` measures the longest step of the event loop.
"""
