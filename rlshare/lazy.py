"""Public names of a package that are imported when they are first asked for."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def names_of(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package, some of whose modules are heavy to import.

    Args:
        package: its name.
        homes: public names by the module of the package that has them.
    """

    def find(name: str) -> Any:
        for module, names in homes.items():
            if name in names:
                found = getattr(import_module(f"{package}.{module}"), name)
                setattr(sys.modules[package], name, found)
                return found
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
