"""Every op, a folder a family. Importing this package imports every module below it, which fills the registry."""

from importlib import import_module
from pkgutil import walk_packages

from engine.graph.primitive import require_traits

for _module in walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)

require_traits()
