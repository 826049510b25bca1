"""Executors: they turn plans into executables. NumPy is the only executor."""
