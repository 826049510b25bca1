"""A cluster as one kernel: blocks of rows go through all of its nodes, in scratch memory that stays in cache.

NumPy's loops are at the speed of the memory that they read and write. With blocks of this size that memory is cache.
"""

from engine.execute.numpy.tiles.build import blocked
from engine.execute.numpy.tiles.kernel import Blocked

__all__ = ["Blocked", "blocked"]
