"""Networks of Stable-Baselines3's off-policy algorithms, with trees in place of their layers."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import SquashedDiagGaussianDistribution
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.dqn.policies import QNetwork
from stable_baselines3.sac.policies import Actor as SACActor
from stable_baselines3.td3.policies import Actor as TD3Actor
from torch import Tensor, nn

from rlshare.policies.gbt.features import TabularFeatures
from rlshare.policies.gbt.heads import Columns


class TreeNetwork(BaseModel):
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
        x = cast("TabularFeatures", self.features_extractor)(obs)
        return torch.cat([module(x) for module in trees], dim=1).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        raise NotImplementedError(
            f"a {type(self).__name__} is not saved alone, since targets share its trees: save the "
            "policy or the model"
        )


class TreeQNetwork(TreeNetwork, QNetwork):
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
        features: TabularFeatures,
        trees: nn.Module,
    ) -> None:
        super().__init__(observation_space, action_space, features, int(action_space.n), [])
        self.trees = nn.ModuleList([trees])
        self.q_net = nn.Sequential()


class TreeSACActor(TreeNetwork, SACActor):
    """Means | log standard deviations of a squashed Gaussian, K columns each."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        features: TabularFeatures,
        trees: nn.Module,
    ) -> None:
        n_actions = get_action_dim(action_space)
        super().__init__(observation_space, action_space, [], features, 2 * n_actions)
        self.trees = nn.ModuleList([trees])
        self.mu = Columns(0, n_actions)
        self.log_std = Columns(n_actions, None)  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        # the last distribution may hang on a graph, which torch neither copies nor pickles
        n_actions = get_action_dim(self.action_space)
        return {**self.__dict__, "action_dist": SquashedDiagGaussianDistribution(n_actions)}


class TreeTD3Actor(TreeNetwork, TD3Actor):
    """The action: the hyperbolic tangent of K columns."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        features: TabularFeatures,
        trees: nn.Module,
    ) -> None:
        n_actions = get_action_dim(action_space)
        super().__init__(observation_space, action_space, [], features, n_actions)
        self.trees = nn.ModuleList([trees])
        self.mu = nn.Sequential(nn.Tanh())
