"""Small calls, answered on the spot: the connection, the request head, and the shortcut to the evaluator."""
