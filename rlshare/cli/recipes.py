"""``rlshare recipes``: the tuned settings that come with rlshare."""

from typing import Annotated

import typer

from rlshare.agents.registry import AlgoName, PolicyName, RecipeSet
from rlshare.cli.options import RecipeSetOption
from rlshare.runs.errors import user_errors


def recipes(
    env: Annotated[
        str | None, typer.Argument(help="Show the settings of this environment.")
    ] = None,
    algo: Annotated[AlgoName | None, typer.Option(help="Only this algorithm.")] = None,
    policy: Annotated[PolicyName | None, typer.Option(help="Only this policy.")] = None,
    recipe: RecipeSetOption = "tuned",
) -> None:
    """List the recipes, or print those of one environment as YAML for --conf-file."""
    from rlshare.agents import list_recipes

    found = [
        each for each in list_recipes() if algo in (None, each[0]) and policy in (None, each[1])
    ]
    if env is None:
        _print_table(found)
    else:
        pairs = sorted({(a, p) for a, p, _ in found}, key=[(a, p) for a, p, _ in found].index)
        for a, p in pairs:
            _print_recipe(a, p, env, recipe)


def _print_table(found: list[tuple[str, str, str]]) -> None:
    algorithms = list(dict.fromkeys(a for a, _, _ in found))
    envs = list(dict.fromkeys(e for _, _, e in found))
    rows = [["environment", *algorithms]]
    for env in envs:
        policies = [
            " ".join(p for a, p, e in found if (a, e) == (algo, env)) for algo in algorithms
        ]
        rows.append([env, *policies])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    print("\nshow one: rlshare recipes CartPole-v1 --algo ppo --policy gbt")


def _print_recipe(algo: str, policy: str, env: str, recipe: RecipeSet) -> None:
    import yaml

    from rlshare.agents import list_recipes, load_recipe, recipe_name

    with user_errors():
        settings = load_recipe(algo, policy, env, recipe_set=recipe).to_data()
    name = recipe_name(env, [e for a, p, e in list_recipes() if (a, p) == (algo, policy)])
    note = "" if name == env else f"  (no recipe of its own: {name})"
    print(f"# {algo}.yaml{note}")
    print(yaml.safe_dump({policy: {env: settings}}, sort_keys=False, default_flow_style=None))
