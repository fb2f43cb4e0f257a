"""Plain-data options of a tree policy: what ``policy_kwargs`` may hold, checked.

One frozen dataclass for each family of policies. Numbers of numpy are numbers, its arrays are
lists; what a family keeps is plain data, from which an equal one is made.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar, get_args

import numpy as np
import torch

from rlshare.checks import finite, integer, is_real, non_negative, one_of, switch
from rlshare.messages import nearest
from rlshare.policies.gbt.budget import TreeBudget
from rlshare.policies.options import check_optimizer, plain_arch, refuse_unknown
from rlshare.trees import Linear, Table, TreeParams
from rlshare.trees.linear_params import LinearParams

Rate = float | Mapping[str, float] | Sequence[float]
Form = Literal["linear", "tanh", "quadratic"]
CriticKind = Literal["nn", "linear", "tanh", "quadratic"]
FORMS: tuple[Form, ...] = get_args(Form)

_LAYERS = "trees have no layers, tree={'max_depth': ..} sets their size"
_EXPLORATION = "state-dependent exploration needs the last layer of a network, and trees have none"
_OBSERVATIONS = "trees read the observations themselves, a wrapper of the environment prepares them"
# Options of Stable-Baselines3's policies that trees cannot have.
_REASONS = {
    "net_arch": _LAYERS,
    "activation_fn": _LAYERS,
    "ortho_init": "trees start without weights, from one constant",
    "layer_norm": _LAYERS,
    "full_std": _EXPLORATION,
    "use_expln": _EXPLORATION,
    "squash_output": "actions of PPO, A2C and AWR are always clipped to their bounds, those of SAC "
    "and TD3 squashed",
    "clip_mean": "means are not bounded, max_policy_grad_norm bounds their steps",
    "features_extractor_class": _OBSERVATIONS,
    "features_extractor_kwargs": _OBSERVATIONS,
    "share_features_extractor": "`shared` says whether actor and critic of PPO, A2C and AWR share "
    "trees, and those of SAC and TD3 never do",
    "normalize_images": "thresholds need no scaled observations",
    "n_critics": "it has one value function",
    "linear": "targets of DQN, SAC and TD3 are weighted sums of trees, which a line is not",
    "log_std_init": "its actions have no standard deviation",
}

# What PPO, A2C, AWR and DQN learn with where nothing is said; what suits PPO's leaves that move.
_FOREST = {"learner": "refit", "max_depth": 5}
_OF_REFIT = {"policy_lr": 1.0, "value_lr": 1.0, "log_std_init": 0.0}


@dataclass(frozen=True)
class TreeOptions:
    """What every tree policy takes.

    Args:
        tree: fields of :class:`rlshare.trees.TreeParams`.
        value_lr: rate of the values: a number, ``{"init": a, "stop": b, "T": n}`` for a linear
            change within n boosting steps, or a list with one rate a step.
        max_value_grad_norm: norm to which each sample's gradient of the values is clipped.
        tree_budget: None; only :class:`TreeActorCriticOptions` can bound the trees.
        optimizer_class: of the torch parameters, where there are any.
        optimizer_kwargs: its arguments, without the learning rate.

    Raises:
        ValueError: for an option that breaks its rule; the message states both.
    """

    learner_by_default = False  # no field: it follows from what was not given

    tree: Mapping[str, Any] = field(default_factory=dict)
    value_lr: Rate = 0.1
    max_value_grad_norm: float | None = None
    tree_budget: int | None = None
    optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam
    optimizer_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check every value and make it plain data."""
        if not isinstance(self.tree, Mapping | None):
            raise ValueError(f"tree must be a dict of fields of TreeParams, got {self.tree!r}")
        self._set("tree", dict(self.tree or {}))
        _known_tree_keys(self.tree)
        TreeParams(**self.tree)
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if one.name.endswith("_lr"):
                self._set(one.name, _plain_rate(one.name, value))
            elif one.name.endswith("_grad_norm"):
                self._set(one.name, clip_norm(one.name, value))
        check_optimizer(self.optimizer_class, self.optimizer_kwargs)
        self._check_family()

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults that depend on what is given: none."""
        return {}

    def _check_family(self) -> None:
        if self.tree_budget is not None:
            raise ValueError(
                f"tree_budget must be None with DQN, SAC and TD3, got {self.tree_budget}: old "
                "trees are refitted on what a rollout met, and values would change on all that it "
                "did not; train less often, on larger batches"
            )
        bins = self.tree.get("bins", "batch")
        if bins != "batch":
            raise ValueError(
                f'tree bins must be "batch" with a replay buffer, got {bins!r}: its batches '
                "belong to no rollout"
            )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # frozen for everybody else

    def plain(self) -> dict[str, Any]:
        """Return the options as a dict, of which an equal family is made."""
        return {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}

    def of_added_trees(self) -> Self:
        """Return these options with the defaults of trees that are added."""
        names = type(self).defaults({})
        rest = {name: value for name, value in self.plain().items() if name not in names}
        return type(self)(**rest)

    def params(self, categorical: Sequence[int]) -> TreeParams:
        """Return the ``TreeParams`` of ``tree``, with the space's categorical features.

        Without a ``random_state`` one is drawn from torch's generator, which Stable-Baselines3 has
        seeded, so that a seed makes the whole agent reproducible.
        """
        options = dict(self.tree)
        declared = {*categorical, *(options.get("categorical") or ())}
        options["categorical"] = sorted(declared) or None
        if options.get("random_state") is None:
            options["random_state"] = int(torch.randint(2**31, ()).item())
        return TreeParams(**options)


@dataclass(frozen=True)
class TreeActorCriticOptions(TreeOptions):
    """``policy_kwargs`` of :class:`rlshare.policies.GBTPolicy`, for PPO, A2C and AWR.

    A policy that is given none of ``tree``, ``policy_lr``, ``value_lr`` and ``tree_budget`` is a
    forest of constant size, ``{"learner": "refit", "max_depth": 5}``. The defaults below are for
    trees that are added; with ``learner="refit"`` those of ``policy_lr`` and ``value_lr`` are 1,
    and that of ``log_std_init`` is 0.

    Args:
        tree: fields of :class:`rlshare.trees.TreeParams`; the outputs of ``monotonic`` are the
            policy's columns (logits or means), then the value; ``bins="rollout"`` needs
            ``rollout_buffer_class=TreeRolloutBuffer`` (``DictTreeRolloutBuffer`` for Dict).
        value_lr: rate of the value column: a number, ``{"init": a, "stop": b, "T": n}`` for a
            linear change within n boosting steps, or a list with one rate a step.
        max_value_grad_norm: norm to which each sample's gradient of the value is clipped.
        tree_budget: trees an ensemble may have, >= 16; None for no bound. Beyond it the oldest are
            compacted before the next rollout, see :class:`rlshare.policies.gbt.budget.TreeBudget`,
            unless that changes the policy or the value too much.
        optimizer_class: of ``log_std`` (A2C passes RMSprop).
        optimizer_kwargs: its arguments, without the learning rate.
        policy_lr: rate of the policy's columns, like ``value_lr``. With ``learner="refit"``, or
            ``linear``, the gradient of means is the natural one, times their variance, and the rate
            in the unit of actions.
        linear: None, or ``{"rate": .3, "ridge": 1.}``: a line beside the trees of every ensemble,
            in all its columns, see :class:`rlshare.trees.BoostedTrees`. ``rate`` is a number, or
            that of the policy and that of the value, ``[1., .3]``; .1 to 1 for means and values.
            They slow down as ``policy_lr`` and ``value_lr`` do. Not together with ``monotonic``.
        shared: one ensemble with columns policy | value, or one for each.
        log_std_init: initial log standard deviation of Box actions, a torch parameter.
        log_std_lr: rate of its optimizer, like ``value_lr``.
        max_policy_grad_norm: norm to which the policy's gradient of each sample is clipped.
        compaction_max_kl: largest mean KL divergence of the policy from before a compaction to
            after it, on held-out observations; a compaction beyond it is refused.
    """

    value_lr: Rate = 0.005
    policy_lr: Rate = 0.05
    linear: Mapping[str, Any] | None = None
    shared: bool = True
    log_std_init: float = -2.0
    log_std_lr: Rate = 1e-3
    max_policy_grad_norm: float | None = None
    compaction_max_kl: float = 0.01

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults that depend on what is given; see the class."""
        tree = given.get("tree")
        if not {"tree", "policy_lr", "value_lr", "tree_budget"} & given.keys():
            return {"tree": _FOREST, **_OF_REFIT}
        refits = isinstance(tree, Mapping) and tree.get("learner") == "refit"
        return dict(_OF_REFIT) if refits else {}

    def _check_family(self) -> None:
        self._set("log_std_init", finite("log_std_init", self.log_std_init))
        self._set("shared", switch("shared", self.shared))
        self._check_linear()
        budget = TreeBudget(
            16 if self.tree_budget is None else self.tree_budget, self.compaction_max_kl
        )
        self._set("compaction_max_kl", budget.max_kl)
        if self.tree_budget is None:
            return
        if self.tree.get("learner") == "refit":
            raise ValueError(
                "tree_budget must be None with learner='refit', whose trees are n_trees, got "
                f"{self.tree_budget}"
            )
        if self.tree.get("monotonic"):
            raise ValueError(
                "tree_budget must be None with monotonic constraints, which a compaction would "
                f"not keep, got {self.tree_budget}"
            )
        self._set("tree_budget", budget.max_trees)

    def line(self) -> tuple[float | None, float | None, float | None]:
        """Return the ridge of the linear part and its rates of policy and value, None without."""
        if self.linear is None:
            return None, None, None
        rate = self.linear["rate"]
        of_policy, of_value = rate if isinstance(rate, list) else (rate, rate)
        return self.linear["ridge"], of_policy, of_value

    def _check_linear(self) -> None:
        line = LinearParams.of(self.linear)
        if line is None:
            return
        if isinstance(line.rate, Sequence) and len(line.rate) != 2:
            raise ValueError(
                "rate of linear must be a number, or that of the policy and that of the value, got "
                f"{list(line.rate)}"
            )
        self._set("linear", line.plain)
        if self.tree.get("monotonic"):
            raise ValueError(
                "linear must be None with monotonic constraints, which a line would not keep, got "
                f"{self.linear}"
            )


@dataclass(frozen=True)
class TreeQOptions(TreeOptions):
    """``policy_kwargs`` of :class:`rlshare.policies.GBTDQNPolicy`.

    A policy that is given neither ``tree`` nor ``value_lr`` is a forest of constant size,
    ``{"learner": "refit", "max_depth": 5}``.

    Args:
        tree: fields of :class:`rlshare.trees.TreeParams`; ``bins`` is "batch".
        value_lr: rate of the trees: a number, ``{"init": a, "stop": b, "T": n}`` for a linear
            change within n boosting steps, or a list with one rate a step. DQN's loss bounds
            gradients by 1, so that a step moves a value by no more than this: take 1 where values
            are in the tens, as on CartPole, and with ``learner="refit"``.
        max_value_grad_norm: norm to which the gradient of each transition is clipped.
        tree_budget: None; the trees of a Q-function are not compacted.
        optimizer_class: taken as other policies take it; there are no torch parameters here.
        optimizer_kwargs: likewise.
    """

    value_lr: Rate = 0.3

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults that depend on what is given; see the class."""
        return {} if {"tree", "value_lr"} & given.keys() else {"tree": _FOREST}


@dataclass(frozen=True)
class TreeActorOptions(TreeOptions):
    """``policy_kwargs`` of :class:`rlshare.policies.GBTTD3Policy`.

    Args:
        tree: fields of :class:`rlshare.trees.TreeParams`, for actor and critics; ``bins`` is
            "batch"; the outputs of ``monotonic`` are the actor's columns. Where it sets neither
            ``subsample`` nor ``colsample``, each of several tree critics draws half of the rows,
            since they would be equal otherwise; not with ``learner="refit"``, where each draws its
            own tests.
        value_lr: rate of critics that are trees: a number, ``{"init": a, "stop": b, "T": n}`` for
            a linear change within n boosting steps, or a list with one rate a step; beyond
            1 / (1 + 2K) for K-dimensional actions a step may overshoot (half of that with TD3,
            whose loss lacks SAC's 1/2). Leaves that see few actions generalise badly to others:
            ``min_samples_leaf`` helps.
        max_value_grad_norm: norm to which each sample's gradient of a tree critic is clipped.
        tree_budget: None; the trees are not compacted.
        optimizer_class: of critics that are networks.
        optimizer_kwargs: its arguments, without the learning rate.
        policy_lr: rate of the means, like ``value_lr``.
        max_policy_grad_norm: norm to which each sample's gradients of means and of log standard
            deviations are clipped, each; without it, None, steps scale with the returns.
        critic: "nn", or the form of trees' values in the action, see
            :class:`rlshare.policies.gbt.critics.ActionForm`: "linear" (the best action is then
            at a bound), "tanh", "quadratic".
        n_critics: number of critics, the least of which counts.
        net_arch: hidden layers of critics that are networks; of SB3's ``{"pi": .., "qf": ..}``
            the part "qf", and "pi" must be empty; None for the default.
    """

    policy_lr: Rate = 0.05
    max_policy_grad_norm: float | None = 1.0
    critic: CriticKind = "nn"
    n_critics: int = 2
    net_arch: Sequence[int] | Mapping[str, Sequence[int]] | None = (400, 300)

    def _check_family(self) -> None:
        super()._check_family()
        if self.critic not in ("nn", *FORMS):
            raise ValueError(
                f"critic must be one of nn, {', '.join(FORMS)}, got {self.critic!r}; trees over "
                "observation and action together are not offered, since they are constant between "
                "thresholds: dQ/da would be 0"
            )
        self._set("n_critics", integer("n_critics", self.n_critics, 1))
        default = type(self).net_arch  # of a dataclass, an attribute of the class
        self._set("net_arch", _critic_layers(self.net_arch, default))


@dataclass(frozen=True)
class TreeStochasticActorOptions(TreeActorOptions):
    """``policy_kwargs`` of :class:`rlshare.policies.GBTSACPolicy`: as of TD3, and these.

    Args:
        net_arch: hidden layers of critics that are networks.
        log_std_lr: rate of the log standard deviations, like ``value_lr``.
        log_std_init: initial log standard deviation, before the tangent.
    """

    net_arch: Sequence[int] | Mapping[str, Sequence[int]] | None = (256, 256)
    log_std_lr: Rate = 0.02
    log_std_init: float = 0.0

    def _check_family(self) -> None:
        super()._check_family()
        self._set("log_std_init", finite("log_std_init", self.log_std_init))


Family = TypeVar("Family", bound=TreeOptions)


def read_options(family: type[Family], given: Mapping[str, Any]) -> Family:
    """Return the options of a family that ``policy_kwargs`` give.

    Raises:
        ValueError: for an option that trees cannot have, with the reason, or an unknown one, with
            the nearest known; or one that breaks its rule.
    """
    options = dict(given)
    if options.pop("use_sde", False):
        raise ValueError(
            "use_sde must be False with GBTPolicy, got True: state-dependent exploration "
            "needs the last hidden layer of a network, and trees have none"
        )
    known = [one.name for one in dataclasses.fields(family)]
    refuse_unknown("GBTPolicy", options, known, _REASONS)
    defaults = family.defaults(options)
    chosen = family(**{**defaults, **options})
    chosen._set("learner_by_default", "tree" in defaults)
    return chosen


def learning_rate(name: str, rate: Rate) -> float | Linear | Table:
    """Return the schedule that the plain data ``rate`` describes.

    A number is constant; ``{"init": .05, "stop": .01, "T": 10000}`` is linear from init to stop
    within T boosting steps; a list is a table with one rate per boosting step.

    Raises:
        ValueError: for anything else, and for a rate that is negative or not finite.
    """
    plain = _plain_rate(name, rate)
    if isinstance(plain, dict):
        return Linear(**plain)
    return Table(plain) if isinstance(plain, list) else plain


def _plain_rate(name: str, rate: Any) -> float | dict[str, float] | list[float]:
    if is_real(rate):
        return non_negative(name, rate)
    if isinstance(rate, Mapping) and set(rate) == {"init", "stop", "T"}:
        parts = {key: finite(f"{name} {key}", value) for key, value in rate.items()}
        Linear(**parts)
        return parts
    if isinstance(rate, np.ndarray) and rate.ndim == 1:
        rate = rate.tolist()
    if isinstance(rate, Sequence) and not isinstance(rate, str):
        values = [finite(name, value) for value in rate]
        Table(values)
        return values
    raise ValueError(
        f'{name} must be a number, a dict {{"init": .., "stop": .., "T": ..}} or a list of '
        f"numbers, got {rate!r}"
    )


def clip_norm(name: str, norm: float | None) -> float | None:
    """Return the gradient norm ``norm``, checked; None does not clip.

    Raises:
        ValueError: if it is not positive.
    """
    if norm is None:
        return None
    if not is_real(norm) or not float(norm) > 0:
        raise ValueError(f"{name} must be None or > 0, got {norm!r}")
    return float(norm)


def _known_tree_keys(tree: Mapping[str, Any]) -> None:
    known = [one.name for one in dataclasses.fields(TreeParams)]
    for key in tree:
        if key not in known:
            raise ValueError(
                f"tree has no key {key!r}{nearest(key, known)} Known keys: {', '.join(known)}"
            )


def _critic_layers(net_arch: Any, default: Any) -> list[int]:
    """Return the widths of the hidden layers of critics that are networks."""
    layers = default if net_arch is None else plain_arch(net_arch)
    if isinstance(layers, Mapping):
        for part in layers:
            one_of("parts of net_arch", part, ("pi", "qf"))
        actor = layers.get("pi")
        if actor is not None and np.size(actor):
            raise ValueError(f"net_arch of 'pi' must be empty, got {actor!r}: {_LAYERS}")
        layers = layers.get("qf", ())
    if isinstance(layers, str) or not isinstance(layers, Sequence | np.ndarray):
        raise ValueError(f"net_arch must be a list of widths or a dict with 'qf', got {net_arch!r}")
    return [integer("net_arch", width, 1) for width in layers]
