"""Every op, a file for each family. Importing this package fills the registry."""

from engine.ops import elementwise, movement, reduction

__all__ = ["elementwise", "movement", "reduction"]
