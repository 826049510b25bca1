"""The fast path for small calls: the connection, the request head, and the shortcut to the evaluator."""
