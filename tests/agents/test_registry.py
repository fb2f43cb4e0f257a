"""The records of algorithms, and that their names cost nothing."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from command import BELOW_SB3, Program
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from rlshare.agents.recipes.search_space import search_space
from rlshare.agents.registry import ALGORITHMS, POLICIES, AlgoName, PolicyName, algorithm
from rlshare.runs.config import RunConfig


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_record_is_true(name: str) -> None:
    record = algorithm(name)
    if record.extra is not None:
        pytest.importorskip("sb3_contrib")
    made = record.load()
    assert record.on_policy == issubclass(made, OnPolicyAlgorithm)
    assert (record.rows_buffer(False) is not None) == record.on_policy
    for policy in POLICIES:
        fields = set(record.recipe_class(policy).model_fields)
        assert {"n_timesteps", "policy_kwargs", "gamma"} <= fields
        for continuous in (False, True):
            keys = search_space(name, policy, continuous)
            assert {key.partition(".")[0] for key in keys} <= fields


def test_the_command_line_takes_their_names() -> None:
    assert get_args(AlgoName) == ALGORITHMS
    assert get_args(PolicyName) == POLICIES
    assert RunConfig.algo in ALGORITHMS


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"algo must be one of ppo, .*, got 'pppo'"):
        algorithm("pppo")
    with pytest.raises(ValueError, match="policy must be one of gbt, moe, mlp, got 'forest'"):
        algorithm("ppo").recipe_class("forest")


@pytest.mark.parametrize(
    ("program", "heavy"),
    [
        ("import rlshare.envs", {"torch", "stable_baselines3", "gymnasium"}),
        ("from rlshare.envs import MultiTask, make_env", {"torch", "stable_baselines3"}),
        ("from rlshare.agents import load_recipe", {"torch", "stable_baselines3"}),
        ("from rlshare.distill import Plan, dagger", {"torch", "stable_baselines3", "gymnasium"}),
        ("import rlshare.cli", {"torch", "stable_baselines3", "numpy", "pydantic", "gymnasium"}),
        ("import rlshare.runs.config", {"torch", "numpy", "pydantic", "typer"}),
    ],
)
def test_what_an_import_spares(program: str, heavy: set[str]) -> None:
    code = f"import sys; {program}; print({heavy!r} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "set()", found.stdout + found.stderr


def test_training_needs_no_command_line(tmp_path: Path) -> None:
    code = (
        "import sys, rlshare.runs.training, rlshare.suites.tune; sys.exit('typer' in sys.modules)"
    )
    with Program("-c", code, cwd=tmp_path, imported=BELOW_SB3) as found:
        assert found.wait() == 0, found.stderr
