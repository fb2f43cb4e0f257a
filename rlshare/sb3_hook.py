"""Registers the policy aliases as soon as Stable-Baselines3 is imported, and not before.

Importing Stable-Baselines3 here would load torch into every program that only wants
``rlshare.trees``; waiting for its import costs nothing.
"""

import importlib
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_WATCHED = ("stable_baselines3", "sb3_contrib")


def _register() -> None:
    """Register the aliases, or say why they are missing: the import under way must not fail."""
    try:
        importlib.import_module("rlshare.policies.aliases").register()
    except Exception as error:  # whatever is broken, it is not the package under way
        _warn(f"{type(error).__name__}: {error}")


@cache  # both packages would say the same
def _warn(error: str) -> None:
    warnings.warn(
        "the policies of rlshare are not known to Stable-Baselines3, since rlshare.policies "
        f"cannot be imported: {error}",
        RuntimeWarning,
        stacklevel=3,
    )


class _RegisterAfterImport(MetaPathFinder):
    """Lets the other finders find a watched package and adds the registration to its loading."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the package's own spec, its loader extended; None for anything else."""
        if fullname not in _WATCHED:
            return None
        others = (finder for finder in sys.meta_path if not isinstance(finder, type(self)))
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_register(module: ModuleType) -> None:
            if fullname == "sb3_contrib":  # two threads that import both would meet half-way
                importlib.import_module("stable_baselines3")
            load(module)
            _register()

        spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Register now if Stable-Baselines3 is loaded already, and whenever it is loaded later."""
    if not any(isinstance(finder, _RegisterAfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RegisterAfterImport())
    if sys.modules.get("stable_baselines3") is not None:
        _register()
