"""Policies for sb3_contrib's MaskablePPO: of the actions, those allowed in a state.

Needs the extra ``sb3-contrib``. After ``import rlshare`` the aliases "GBTPolicy", "MoEPolicy" and
"MoECnnPolicy" of ``MaskablePPO`` are these classes.
"""

from typing import Any

try:
    import sb3_contrib  # noqa: F401  first: its import registers the aliases below
except ImportError as error:
    raise ImportError(
        "rlshare.policies.maskable needs sb3_contrib: pip install 'rlshare[sb3-contrib]'"
    ) from error
from gymnasium import spaces
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer
from sb3_contrib.common.maskable.distributions import make_masked_proba_distribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.ppo_mask import MaskablePPO
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from rlshare.policies.gbt.actor_critic import GBTPolicy
from rlshare.policies.moe.actor_critic import MoEPolicy
from rlshare.policies.rows import DictTreeRolloutBuffer, TreeRolloutBuffer
from rlshare.policies.spaces import ACTIONS


class _Masked:
    """What sb3_contrib's policy does with masks, for a policy that is a sibling of it."""

    actions = ACTIONS["MaskablePPO"]
    action_space: spaces.Space[Any]

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any],
        *args: Any, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(observation_space, action_space, *args, **kwargs)  # type: ignore[call-arg]
        self.action_dist = make_masked_proba_distribution(action_space)

    forward = MaskableActorCriticPolicy.forward
    predict = MaskableActorCriticPolicy.predict
    _predict = MaskableActorCriticPolicy._predict
    _get_action_dist_from_latent = MaskableActorCriticPolicy._get_action_dist_from_latent

    def evaluate_actions(
        self, obs: PyTorchObs, actions: Tensor, action_masks: Tensor | None = None
    ) -> Any:
        """Return values [n, 1], log probabilities [n] and entropies [n] under masks [n, K]."""
        self.check_rows(obs)  # type: ignore[attr-defined]
        return MaskableActorCriticPolicy.evaluate_actions(self, obs, actions, action_masks)

    def get_distribution(self, obs: PyTorchObs, action_masks: Any = None) -> Any:
        """Return the distribution of the actions that ``action_masks`` [n, K] allows."""
        distribution = super().get_distribution(obs)  # type: ignore[misc]
        if action_masks is not None:
            distribution.apply_masking(action_masks)
        return distribution

    def __getstate__(self) -> dict[str, Any]:
        # the last distribution may hang on a graph, which torch neither copies nor pickles
        fresh = make_masked_proba_distribution(self.action_space)
        return {**super().__getstate__(), "action_dist": fresh}  # type: ignore[dict-item]


class MaskableGBTPolicy(_Masked, GBTPolicy):
    """:class:`GBTPolicy` for MaskablePPO; actions are Discrete or MultiDiscrete."""

    def forward(
        self, obs: Tensor, deterministic: bool = False, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Act: return actions, values [n, 1] and log probabilities [n]."""
        self.note_acting(obs, deterministic)
        acted: tuple[Tensor, Tensor, Tensor]
        acted = _Masked.forward(self, obs, deterministic, action_masks)
        return acted


class MaskableMoEPolicy(_Masked, MoEPolicy):
    """:class:`MoEPolicy` for MaskablePPO; actions are Discrete or MultiDiscrete."""


MaskableMoECnnPolicy = MaskableMoEPolicy


class MaskableTreeRolloutBuffer(TreeRolloutBuffer, MaskableRolloutBuffer):
    """``MaskableRolloutBuffer`` whose samples know their rows."""


class MaskableDictTreeRolloutBuffer(DictTreeRolloutBuffer, MaskableDictRolloutBuffer):
    """``MaskableDictRolloutBuffer`` whose samples know their rows."""


for _alias, _policy in {
    "GBTPolicy": MaskableGBTPolicy,
    "MoEPolicy": MaskableMoEPolicy,
    "MoECnnPolicy": MaskableMoEPolicy,
}.items():
    # MaskablePPO takes what isinstance says is one of its policies.
    MaskableActorCriticPolicy.register(_policy)
    MaskablePPO.policy_aliases[_alias] = _policy
