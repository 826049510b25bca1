"""Kernels of clusters: each block of rows passes through all nodes, in scratch memory that stays in cache.

The speed of NumPy's loops is the speed of the memory that they read and write. With small blocks that memory is cache.
The NumPy lowering creates these kernels.
"""

from engine.execute.numpy.tiles.build import blocked
from engine.execute.numpy.tiles.kernel import Blocked

__all__ = ["Blocked", "blocked"]
