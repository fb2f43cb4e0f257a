"""Registers the policy aliases as soon as Stable-Baselines3 is imported, and not before.

Importing Stable-Baselines3 here would load torch into every program that only wants
``rlshare.trees``; waiting for its import costs nothing.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_WATCHED = ("stable_baselines3", "sb3_contrib")


def _register() -> None:
    importlib.import_module("rlshare.policies.aliases").register()


class _RegisterAfterImport(MetaPathFinder):
    """Lets the other finders find a watched package and adds the registration to its loading."""

    def __init__(self) -> None:
        self._searching = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the package's own spec, its loader extended; None for anything else."""
        if fullname not in _WATCHED or self._searching:
            return None
        self._searching = True  # the search below asks this finder too
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching = False
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_register(module: ModuleType) -> None:
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
