"""Plain data: what YAML can hold, read from it or made of what Python code hands over."""

import re
from typing import Any

import numpy as np
import yaml


class _Loader(yaml.SafeLoader):
    """PyYAML's, which follows YAML 1.1, where 1e-3 without a point is no number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(text: str) -> Any:
    """Return the plain data of a YAML text.

    Raises:
        yaml.YAMLError: it is none.
    """
    return yaml.load(text, Loader=_Loader)


def plain(value: Any) -> Any:
    """Return data with numpy's numbers and arrays as Python's numbers and lists."""
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
