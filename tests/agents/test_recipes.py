"""Recipes: every one we ship is valid, and what is wrong in another is named."""

from pathlib import Path
from typing import Any, get_args

import pytest

from rlshare.agents import (
    ALGORITHMS,
    POLICIES,
    apply_overrides,
    list_recipes,
    load_recipe,
    parse_pairs,
    parse_recipe,
    recipe_name,
)
from rlshare.agents.registry import AlgoName, PolicyName
from rlshare.envs import make_vec_env
from rlshare.runs.folder import view_of
from rlshare.runs.models import algorithm_class, build_model

ISSUE_ENVS = (
    "CartPole-v1", "Acrobot-v1", "LunarLander-v3", "MountainCar-v0", "MountainCarContinuous-v0",
    "Pendulum-v1", "Hopper-v5", "HalfCheetah-v5",
)  # fmt: skip


def test_the_environments_of_the_suite_have_recipes() -> None:
    listed = set(list_recipes())
    for env in ISSUE_ENVS:
        for algo, policy in (("ppo", "gbt"), ("ppo", "moe"), ("ppo", "mlp")):
            assert (algo, policy, env) in listed
    for env in ISSUE_ENVS[:6]:
        assert ("a2c", "gbt", env) in listed
        for policy in POLICIES:
            assert ("awr", policy, env) in listed
    for algo, env in (("dqn", "CartPole-v1"), ("sac", "Pendulum-v1"), ("td3", "Pendulum-v1")):
        for policy in POLICIES:
            assert (algo, policy, env) in listed


@pytest.mark.parametrize("recipe", list_recipes(), ids="/".join)
def test_each_recipe_builds_its_agent(recipe: tuple[str, str, str]) -> None:
    algo, policy, env = recipe
    settings = load_recipe(algo, policy, env)
    again = parse_recipe(algo, policy, settings.to_data(), "again")
    assert again == settings
    examples = {
        "default": "Pendulum-v1" if algo in ("sac", "td3") else "CartPole-v1",
        "MiniGrid-*": "MiniGrid-DoorKey-5x5-v0",
        "ALE/*": "ALE/Pong-v5",
    }
    vec_env = make_vec_env(examples.get(env, env), settings.n_envs, view=view_of(policy))
    model = build_model(algo, policy, settings, vec_env, 0, "cpu")
    vec_env.close()
    expected = settings.algorithm_settings()
    assert model.gamma == expected.get("gamma", 0.99)
    for name in ("n_steps", "buffer_size", "gradient_steps", "beta"):
        assert getattr(model, name, None) == expected.get(name, getattr(model, name, None))
    assert (model.action_noise is not None) == (algo == "td3")


def test_the_command_line_takes_every_algorithm_and_policy() -> None:
    assert get_args(AlgoName) == ALGORITHMS
    for algo in ALGORITHMS:
        name = "MaskablePPO" if algo == "ppo_mask" else algo.upper()
        assert algorithm_class(algo).__name__ == name
    assert get_args(PolicyName) == POLICIES


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch")  # a last one is smaller
@pytest.mark.parametrize(
    ("algo", "settings", "trees"),
    [
        ("ppo", {"n_envs": 4, "n_steps": 100, "batch_size": 150, "n_epochs": 2}, 3 * 2 * 3),
        ("ppo", {}, 10 * 32),
        ("a2c", {"n_envs": 4, "n_steps": 10}, 25),
        ("awr", {"n_envs": 4, "train_freq": 100, "gradient_steps": 7}, 21),
        ("awr", {}, 150),
        ("dqn", {"train_freq": 10, "gradient_steps": 2}, 180),
        ("dqn", {"train_freq": 8, "learning_starts": 20}, 123),
    ],
)
def test_the_trees_of_a_run_are_known_before(
    algo: str, settings: dict[str, Any], trees: int
) -> None:
    recipe = parse_recipe(algo, "gbt", {"n_timesteps": 1000, **settings}, "mine")
    assert recipe.optimizer_steps() == trees
    built = {"n_envs": 1, **settings}
    env = make_vec_env("CartPole-v1", built["n_envs"])
    model = build_model(algo, "gbt", recipe, env, 0, "cpu")
    if settings:
        assert model.learn(1000).policy.n_trees == trees


def test_the_papers_settings_of_cartpole() -> None:
    settings = load_recipe("ppo", "gbt", "CartPole-v1", recipe_set="paper").to_data()
    kwargs = settings["policy_kwargs"]
    assert (settings["n_envs"], settings["n_steps"], settings["batch_size"]) == (8, 128, 64)
    assert (settings["gamma"], settings["gae_lambda"], settings["n_epochs"]) == (0.98, 0.8, 1)
    assert settings["vf_coef"] == 0.4359615  # SB3's value loss has no 1/2
    assert (kwargs["policy_lr"], kwargs["value_lr"]) == (0.029, 0.015)
    assert kwargs["tree"]["max_depth"] == 4


@pytest.mark.parametrize(
    ("algo", "policy", "env"),
    [
        ("ppo", "gbt", "Hopper-v5"),
        ("ppo", "mlp", "CartPole-v1"),
        ("a2c", "gbt", "CartPole-v1"),
    ],
)
def test_both_sets_have_the_same_where_the_paper_has_no_other(
    algo: str, policy: str, env: str
) -> None:
    assert load_recipe(algo, policy, env, recipe_set="paper") == load_recipe(algo, policy, env)


def test_a_set_of_recipes_is_known_and_without_a_file(tmp_path: Path) -> None:
    unknown: Any = "papers"
    with pytest.raises(ValueError, match="recipe must be one of tuned, paper, got 'papers'"):
        load_recipe("ppo", "gbt", "CartPole-v1", recipe_set=unknown)
    with pytest.raises(ValueError, match="recipe must be 'tuned' with a file of recipes"):
        load_recipe("ppo", "gbt", "CartPole-v1", tmp_path / "my.yml", recipe_set="paper")


def test_patterns_are_for_environments_without_a_recipe_of_their_own() -> None:
    one, other = (load_recipe("ppo", "gbt", f"MiniGrid-{n}-v0") for n in ("GoToDoor-5x5", "Other"))
    assert one == other
    assert one.policy_kwargs.policy_lr == 0.17
    assert load_recipe("ppo", "gbt", "MiniGrid-Unlock-v0").policy_kwargs.policy_lr == 0.5
    names = ["default", "A-*", "A-1", "A-*2"]
    found = [recipe_name(env, names) for env in ("A-1", "A-2", "B-1", "a-2")]
    assert found == ["A-1", "A-*", "default", "default"]


def test_an_environment_without_a_recipe_gets_the_default() -> None:
    assert load_recipe("ppo", "gbt", "Blackjack-v1") == load_recipe("ppo", "gbt", "Taxi-v3")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"gama": 0.9}, ["'gama'", "'gamma'"]),
        ({"policy_kwargs": {"policy_rl": 0.1}}, ["policy_rl", "policy_lr"]),
        ({"n_envs": 0}, ["n_envs", "0"]),
        ({"gamma": 1.5}, ["gamma", "1.5"]),
        ({"learning_rate": "lambda p: p"}, ["learning_rate", "lambda p: p"]),
        ({"policy_kwargs": {"tree": {"n_bins": 256}}}, ["n_bins must be", "256"]),
    ],
)
def test_what_is_wrong_is_named(data: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match="mine") as error:
        parse_recipe("ppo", "gbt", {"n_timesteps": 1000, **data}, "mine")
    for word in words:
        assert word in str(error.value)


def test_a_recipe_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("gbt:\n  CartPole-v1: {n_timesteps: 5000, n_envs: 2, gamma: 0.5}\n")
    settings = load_recipe("ppo", "gbt", "CartPole-v1", file, {"gamma": 0.6})
    assert (settings.n_timesteps, settings.n_envs, settings.gamma) == (5000, 2, 0.6)


@pytest.mark.parametrize("text", ["gbt: [1, 2", "- a list", "gbt: {CartPole-v1: 3}", "\0"])
def test_a_damaged_recipe_file(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"mine\.yaml"):
        load_recipe("ppo", "gbt", "CartPole-v1", file)


def test_pairs_are_parsed_and_never_evaluated() -> None:
    parsed = parse_pairs(["a:1", "b:0.5", "c:[1, 2]", "d:true", "e:null", "f:1+1"], "--x")
    assert parsed == {"a": 1, "b": 0.5, "c": [1, 2], "d": True, "e": None, "f": "1+1"}
    with pytest.raises(ValueError, match="key:value"):
        parse_pairs(["alone"], "--x")


def test_dotted_overrides_go_deep_and_leave_the_rest() -> None:
    settings = {"a": {"b": 1, "c": 2}, "d": 3}
    assert apply_overrides(settings, {"a.b": 9, "e.f": 4}) == {
        "a": {"b": 9, "c": 2},
        "d": 3,
        "e": {"f": 4},
    }
    assert settings == {"a": {"b": 1, "c": 2}, "d": 3}
    with pytest.raises(ValueError, match=r"'d\.x'"):
        apply_overrides(settings, {"d.x": 1})
