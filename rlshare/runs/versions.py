"""Versions of what a result depends on."""

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "rlshare",
    "numpy",
    "torch",
    "stable-baselines3",
    "gymnasium",
    "mujoco",
    "ale-py",
    "metaworld",
    "minigrid",
)


def versions() -> dict[str, str]:
    """Return {package: version} of the installed ones, with Python's own."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
