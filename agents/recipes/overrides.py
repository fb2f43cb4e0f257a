"""``key:value`` pairs of the command line: parsed as YAML, never evaluated."""

from collections.abc import Iterable
from typing import Any

import yaml

from rlshare.agents.recipes.plain import read_yaml


def parse_pairs(pairs: Iterable[str], option: str) -> dict[str, Any]:
    """Parse ``["gamma:0.99", "policy_kwargs.policy_lr:0.05"]`` into ``{key: value}``.

    Raises:
        ValueError: a pair has no colon or key, or its value is not YAML.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, colon, text = pair.partition(":")
        if not (key and colon):
            raise ValueError(f"{option} takes key:value pairs, got {pair!r}")
        try:
            parsed[key] = read_yaml(text)
        except yaml.YAMLError:
            raise ValueError(f"{option} {key}: the value is not valid YAML: {text!r}") from None
    return parsed


def apply_overrides(settings: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Return settings with dotted keys replaced: ``policy_kwargs.tree.max_depth`` goes deep.

    Raises:
        ValueError: a dotted key goes through something that is not a section.
    """
    result = dict(settings)
    for dotted, value in overrides.items():
        head, _, rest = dotted.partition(".")
        if not rest:
            result[head] = value
            continue
        section = result.get(head) or {}
        if not isinstance(section, dict):
            raise ValueError(f"{dotted!r} needs a section at {head!r}, which is {section!r}")
        result[head] = apply_overrides(section, {rest: value})
    return result
