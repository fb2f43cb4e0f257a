"""What a run says beforehand about the trees that it will grow."""

from typing import Any

from gymnasium import spaces

from rlshare.agents import parse_recipe
from rlshare.runs.forecast import Forecast, forecast

SPACE = spaces.Box(-1.0, 1.0, (4,))


def forecast_of(tree: dict[str, Any] | None = None, **settings: Any) -> Forecast:
    kwargs = {"tree": tree or {}, **settings.pop("policy_kwargs", {})}
    rollout = {"n_timesteps": 4096, "n_envs": 8, "n_steps": 256, "n_epochs": 10}
    data = {**rollout, "batch_size": 1024, **settings, "policy_kwargs": kwargs}
    return forecast(parse_recipe("ppo", "gbt", data, "mine"), SPACE, [3])


def test_trees_of_a_whole_run() -> None:
    assert str(forecast_of()).startswith("will grow 40 trees")
    assert str(forecast_of(target_kl=0.01)).startswith("will grow up to 40 trees")
    kept = forecast_of(policy_kwargs={"tree_budget": 16})
    assert str(kept).startswith("will keep about 16 trees")


def test_trees_are_as_large_as_those_of_a_minibatch() -> None:
    large_leaves = {"grow_policy": "greedy", "min_samples_leaf": 100}
    shallow = forecast_of({**large_leaves, "max_depth": 1})
    assert forecast_of({**large_leaves, "max_depth": 3}).megabytes > 2 * shallow.megabytes
