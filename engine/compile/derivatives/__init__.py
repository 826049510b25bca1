"""The kinds of request: a module for each, with its record, and the function that adds its derivatives.

A new kind is a module with a record that extends `engine.compile.request.Request`.
"""
