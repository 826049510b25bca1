"""All ops, one folder for each family. Importing this package imports all its modules, which register their ops."""

from importlib import import_module
from pkgutil import walk_packages

from engine.graph.primitive import require_traits

for _module in walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)

require_traits()
