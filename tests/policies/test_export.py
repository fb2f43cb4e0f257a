"""What cannot leave torch with its function refuses, and says what to ship."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from gymnasium import spaces

from rlshare.policies import GBTDQNPolicy, GBTPolicy, GBTSACPolicy, GBTTD3Policy

OBS = torch.tensor([[1.0, 0.0, 0.5]])
BOX = spaces.Box(-1.0, 1.0, (3,))
POLICIES: dict[str, Callable[[], Any]] = {
    "actor-critic": lambda: GBTPolicy(BOX, BOX, lambda _: 1.0, tree={}),
    "q": lambda: GBTDQNPolicy(BOX, spaces.Discrete(2), lambda _: 1.0),
    "sac": lambda: GBTSACPolicy(BOX, BOX, lambda _: 1.0, net_arch=[4]),
    "td3": lambda: GBTTD3Policy(BOX, BOX, lambda _: 1.0, critic="tanh"),
}


class Action(torch.nn.Module):
    """The deterministic action of a policy."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.policy._predict(obs, deterministic=True)
        return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's, of its older exporters
@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    "export",
    [
        lambda module: torch.jit.trace(module, OBS),
        torch.jit.script,
        lambda module: torch.export.export(module, (OBS,)),
        lambda module: torch.onnx.export(module, (OBS,), io.BytesIO(), dynamo=False),
    ],
    ids=["trace", "script", "export", "onnx"],
)
def test_an_export_is_refused(name: str, export: Callable[[Any], Any]) -> None:
    module = Action(POLICIES[name]()).eval()
    with torch.no_grad(), pytest.raises(Exception, match="ship the model file and rlshare"):
        export(module)


def test_a_compiled_policy_is_the_policy_and_learns() -> None:
    """``torch.compile`` breaks its graph at the trees."""
    policy = POLICIES["actor-critic"]()
    compiled = torch.compile(policy.evaluate_actions, backend="eager")
    obs, actions = torch.randn(16, 3), torch.zeros(16, 3)
    for _ in range(2):
        values, log_prob, _ = compiled(obs, actions)
        expected = policy.evaluate_actions(obs, actions)
        assert torch.equal(values, expected[0])
        assert torch.equal(log_prob, expected[1])
        ((values - obs.sum(dim=1, keepdim=True)).square().mean() - log_prob.mean()).backward()
        policy.optimizer.step()
    assert policy.n_trees == 2
