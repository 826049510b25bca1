"""The kinds of request: one module for each, with its record and the method that adds its derivatives.

A new kind is a module with a subclass of `engine.compile.request.Request`.
"""
