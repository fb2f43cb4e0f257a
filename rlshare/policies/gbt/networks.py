"""Networks of Stable-Baselines3's off-policy algorithms, with trees in place of their layers."""

from collections.abc import Sequence
from typing import Any, Literal, cast, get_args

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel, ContinuousCritic
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.dqn.policies import QNetwork
from stable_baselines3.sac.policies import Actor as SACActor
from stable_baselines3.td3.policies import Actor as TD3Actor
from torch import Tensor, nn
from torch.nn.functional import softplus

from rlshare.policies.gbt.features import TreeFeatures
from rlshare.policies.gbt.heads import Columns

Form = Literal["linear", "tanh", "quadratic"]
FORMS: tuple[Form, ...] = get_args(Form)


class _TreeNetwork(BaseModel):
    """The outputs theta of tree ensembles, side by side, take the place of features.

    SB3's network is built on features of that width, without hidden layers; its heads are then
    exchanged for slices of theta.
    """

    trees: nn.ModuleList

    def extract_features(
        self, obs: PyTorchObs, features_extractor: BaseFeaturesExtractor | None = None
    ) -> Tensor:
        """Return theta [n, D] of all ensembles."""
        return self._theta(obs, self.trees)

    def _theta(self, obs: PyTorchObs, trees: Sequence[nn.Module] | nn.ModuleList) -> Tensor:
        x = cast("TreeFeatures", self.features_extractor)(obs)
        return torch.cat([module(x) for module in trees], dim=1).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        raise NotImplementedError(
            f"a {type(self).__name__} is not saved alone, since targets share its trees: save the "
            "policy or the model"
        )


class TreeQNetwork(_TreeNetwork, QNetwork):
    """Q(s, .) of Discrete actions: one column for each.

    Args:
        observation_space: of the environment.
        action_space: of the environment.
        features: of the observations.
        trees: the ensemble, or its target.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        features: TreeFeatures,
        trees: nn.Module,
    ) -> None:
        super().__init__(observation_space, action_space, features, int(action_space.n), [])
        self.trees = nn.ModuleList([trees])
        self.q_net = nn.Sequential()


class TreeSACActor(_TreeNetwork, SACActor):
    """Means | log standard deviations of a squashed Gaussian, K columns each."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        features: TreeFeatures,
        trees: nn.Module,
    ) -> None:
        n_actions = get_action_dim(action_space)
        super().__init__(observation_space, action_space, [], features, 2 * n_actions)
        self.trees = nn.ModuleList([trees])
        self.mu = Columns(0, n_actions)
        self.log_std = Columns(n_actions, None)  # type: ignore[assignment]


class TreeTD3Actor(_TreeNetwork, TD3Actor):
    """The action: the hyperbolic tangent of K columns."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        features: TreeFeatures,
        trees: nn.Module,
    ) -> None:
        n_actions = get_action_dim(action_space)
        super().__init__(observation_space, action_space, [], features, n_actions)
        self.trees = nn.ModuleList([trees])
        self.mu = nn.Sequential(nn.Tanh())


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


class TreeCritic(_TreeNetwork, ContinuousCritic):
    """Q-functions of continuous actions, one ensemble of coefficients for each."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        features: TreeFeatures,
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
