"""Critics of continuous actions whose coefficients are trees."""

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn
from torch.nn.functional import softplus

from rlshare.policies.gbt.features import TabularFeatures
from rlshare.policies.gbt.networks import TreeNetwork
from rlshare.policies.gbt.options import FORMS, Form

_UNKNOWN = 1  # torch's number for modules that say nothing, as in files of before
_VERSIONS = {form: number for number, form in enumerate(FORMS, start=2)}


class ActionForm(nn.Module):
    """Q(s, a) as a smooth function of the action whose coefficients are outputs of trees.

    - linear: b + w.a
    - tanh: b + w.tanh(a + c)
    - quadratic: b + w.a - softplus(c).a^2, concave with its maximum at w / (2 softplus(c))

    Trees on (s, a) would be constant between thresholds, and so would never tell the actor where
    to go; dQ/da of these forms is exact.

    Args:
        form: "linear", "tanh" or "quadratic".
        start: first of this critic's columns, which are b [1], w [K] and c [K] (none if linear).
        n_actions: K.
    """

    def __init__(self, form: Form, start: int, n_actions: int) -> None:
        super().__init__()
        self.form, self.start, self.n_actions = form, start, n_actions
        self._version = _VERSIONS[form]  # travels in the metadata of the state dict

    @staticmethod
    def n_columns(form: Form, n_actions: int) -> int:
        """Return the number of coefficients."""
        return 1 + n_actions if form == "linear" else 1 + 2 * n_actions

    def forward(self, theta_and_actions: Tensor) -> Tensor:
        """Return Q [n, 1] for the columns of all critics, then the actions [n, ... + K]."""
        k = self.n_actions
        theta, a = theta_and_actions[:, self.start : -k], theta_and_actions[:, -k:]
        b, w, c = theta[:, :1], theta[:, 1 : k + 1], theta[:, k + 1 : 2 * k + 1]
        if self.form == "linear":
            terms = w * a
        elif self.form == "tanh":
            terms = w * torch.tanh(a + c)
        else:
            terms = w * a - softplus(c) * a**2
        return b + terms.sum(dim=1, keepdim=True)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        """Load nothing, but refuse coefficients of another form."""
        version = local_metadata.get("version", _UNKNOWN)
        if version not in (self._version, _UNKNOWN):
            saved = {number: form for form, number in _VERSIONS.items()}.get(version)
            raise RuntimeError(
                f"critic must be {saved!r}, the form of the saved trees, got {self.form!r}"
            )


class TreeCritic(TreeNetwork, ContinuousCritic):
    """Q-functions of continuous actions, one ensemble of coefficients for each."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        features: TabularFeatures,
        trees: Sequence[nn.Module],
        form: Form,
    ) -> None:
        n_actions = get_action_dim(action_space)
        width = ActionForm.n_columns(form, n_actions)
        super().__init__(
            observation_space,
            action_space,
            [],
            features,
            len(trees) * width,
            n_critics=len(trees),
            share_features_extractor=False,  # their gradients are the critics'
        )
        self.trees = nn.ModuleList(trees)
        self.q_networks = []
        for k in range(len(trees)):
            head = ActionForm(form, k * width, n_actions)
            setattr(self, f"qf{k}", head)
            self.q_networks.append(head)

    def q1_forward(self, obs: PyTorchObs, actions: Tensor) -> Tensor:
        """Return Q [n, 1] of the first critic, without a gradient for its trees."""
        with torch.no_grad():
            theta = self._theta(obs, self.trees[:1])
        q: Tensor = self.q_networks[0](torch.cat([theta, actions], dim=1))
        return q
