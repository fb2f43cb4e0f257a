"""Recipes from YAML: ``policy -> environment -> settings``, one file per algorithm."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from rlshare.agents.recipes.overrides import apply_overrides
from rlshare.agents.recipes.plain import plain, read_yaml
from rlshare.agents.recipes.schema.base import Recipe
from rlshare.agents.registry import ALGORITHMS, POLICIES, RecipeSet, recipe_class
from rlshare.checks import one_of
from rlshare.messages import closest

DEFAULT = "default"


def load_recipe(
    algo: str,
    policy: str,
    env: str,
    conf_file: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    recipe_set: RecipeSet = "tuned",
) -> Recipe[Any]:
    """Return the recipe of an environment, or else of the first pattern it fits, or the default.

    A pattern is a name with ``*``, such as ``MiniGrid-*``. Where a recipe needs fewer steps than
    the settings published with GBRL (arXiv 2407.08250), these are the set "paper"; of the other
    environments both sets have the same.

    Args:
        algo: one of ``ALGORITHMS``, such as "ppo".
        policy: "gbt", "moe" or "mlp".
        env: environment id as the user wrote it.
        conf_file: YAML file of the same form used instead of the built-in recipes.
        overrides: dotted keys to replace, as from ``parse_pairs``.
        recipe_set: "tuned" or "paper".

    Raises:
        ValueError: unknown algorithm, policy or key, a wrong value, an unreadable file, or a file
            together with the set "paper".
    """
    recipe_class(algo, policy)
    one_of("recipe", recipe_set, get_args(RecipeSet))
    if conf_file and recipe_set != "tuned":
        raise ValueError(
            f"recipe must be 'tuned' with a file of recipes, which has the settings, got "
            f"{recipe_set!r}"
        )
    where, table = _read(algo, conf_file)
    if recipe_set == "paper":
        where, table = _published(algo, policy, env) or (where, table)
    per_env = _section(table, policy, where)
    name = recipe_name(env, per_env)
    if name not in per_env:
        raise ValueError(
            f"{where}: {policy} has no settings for {env!r} and no {DEFAULT!r}, "
            f"only for {', '.join(map(str, per_env))}"
        )
    settings = _section(per_env, name, where)
    merged = apply_overrides(settings, overrides or {})
    return parse_recipe(algo, policy, merged, where=f"{where}: {policy}: {name}")


def recipe_name(env: str, names: Iterable[str]) -> str:
    """Return which of the names of recipes is an environment's: its own, a pattern or "default"."""
    names = list(names)
    fitting = (name for name in names if "*" in str(name) and fnmatchcase(env, str(name)))
    return env if env in names else next(fitting, DEFAULT)


def list_recipes() -> list[tuple[str, str, str]]:
    """Return (algo, policy, env) of every built-in recipe, sorted as in the files."""
    tables = ((algo, _read(algo, None)[1]) for algo in ALGORITHMS)
    return [(a, p, e) for a, table in tables for p in POLICIES for e in table.get(p, {})]


def parse_recipe(algo: str, policy: str, data: Any, where: str) -> Recipe[Any]:
    """Validate plain data as a recipe; ``where`` begins the error message.

    Raises:
        ValueError: an unknown key (with the nearest known one) or a wrong value.
    """
    schema = recipe_class(algo, policy)
    if isinstance(data, dict):
        data = {"policy_kwargs": {}, **data}
    try:
        return schema.model_validate(plain(data))
    except ValidationError as error:
        raise ValueError(f"{where}: {_explain(error, schema)}") from None


def _read(algo: str, conf_file: str | Path | None) -> tuple[str, dict[str, Any]]:
    source = Path(conf_file) if conf_file else files("rlshare.agents.recipes") / f"{algo}.yaml"
    where = str(conf_file) if conf_file else f"{algo}.yaml"
    try:
        table = read_yaml(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read the recipe file {where}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise ValueError(f"{where} is not valid YAML: {problem}") from None
    if not isinstance(table, dict):
        raise ValueError(f"{where} must map policy -> environment -> settings, got {table!r}")
    for key in table:
        if key not in POLICIES:
            raise ValueError(f"{where}: policy must be one of {', '.join(POLICIES)}, got {key!r}")
    return where, table


def _published(algo: str, policy: str, env: str) -> tuple[str, dict[str, Any]] | None:
    """Return the recipes as published, where the environment has one that is not among ours."""
    if not (files("rlshare.agents.recipes") / f"{algo}_paper.yaml").is_file():
        return None
    where, table = _read(f"{algo}_paper", None)
    return (where, table) if env in _section(table, policy, where) else None


def _section(table: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    section = table.get(key, {})
    if not isinstance(section, dict):
        raise ValueError(f"{where}: {key} must be a section of key: value lines, got {section!r}")
    return section


def _explain(error: ValidationError, schema: type[BaseModel]) -> str:
    """Turn pydantic's first complaint into one sentence with the rule and the value."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {path!r}{_suggestion(path, _paths(schema))}"
    rule = first["msg"].removeprefix("Value error, ")
    got = "" if ", got " in rule else f", got {first['input']!r}"
    return f"{path}: {rule[0].lower()}{rule[1:]}{got}"


def _suggestion(path: str, known: list[str]) -> str:
    # The last word first: 'tree' and 'max_dept' both find their full path.
    by_leaf = {name.rpartition(".")[2]: name for name in reversed(known)}
    leaf = closest(path.rpartition(".")[2], by_leaf)
    full = closest(path, known) if leaf is None else by_leaf[leaf]
    return f"; known keys: {', '.join(known)}" if full is None else f", did you mean {full!r}?"


def _paths(schema: type[BaseModel], prefix: str = "") -> list[str]:
    """List the dotted names of every key of a schema, sections included."""
    names: list[str] = []
    for name, field in schema.model_fields.items():
        names.append(prefix + name)
        for section in (field.annotation, *get_args(field.annotation)):  # it may be optional
            if isinstance(section, type) and issubclass(section, BaseModel):
                names += _paths(section, f"{prefix}{name}.")
    return names
