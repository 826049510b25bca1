"""Executors: they turn plans into executables. NumPy is the one there is."""
