"""What a tree looks like and how its splits are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from rlshare.checks import integer, non_negative, one_of, share

Learner = Literal["grow", "refit"]
GrowPolicy = Literal["oblivious", "greedy"]
Score = Literal["cosine", "l2"]
Candidates = Literal["quantile", "uniform"]
Bins = Literal["batch", "rollout"]

MAX_DEPTH = 16
MAX_BINS = 255


@dataclass(frozen=True)
class TreeParams:
    """Parameters of the trees of one ensemble.

    The defaults are those of Fuhrer, Tessler and Dalal, "Gradient Boosting Reinforcement
    Learning" (arXiv 2407.08250), with 255 candidate thresholds in place of 256.

    Args:
        max_depth: levels of tests, 0 to 16.
        grow_policy: "oblivious" (one test a level) or "greedy" (one test a node).
        score: split score, "cosine" on raw gradients or "l2" on standardised ones.
        candidates: candidate thresholds, "quantile" (equal counts) or "uniform" (equal widths).
        n_bins: candidate thresholds per numeric feature, 1 to 255. A column with missing values has
            one more, which parts them from all numbers, and at most 254 beside it.
        bins: "batch" makes candidates from every minibatch; "rollout" wants codes from
            :meth:`BoostedTrees.bin`, made once and reused.
        min_samples_leaf: fewest rows on each side of a split; 0 allows empty sides below the root.
        l2_regularization: added to the row count in leaves and in both scores; None for 0, or 2
            with ``learner="refit"``.
        subsample: share of rows, in (0, 1], drawn for each tree.
        colsample: share of features, in (0, 1], drawn for each tree.
        feature_weights: one number >= 0 a feature, multiplied onto its scores; 0 excludes it.
        categorical: indices of categorical features, whose tests are equalities.
        monotonic: (feature, output, sign) triples: F of the output never falls (sign 1) or never
            rises (sign -1) while the numeric feature rises and the others stay; None for none.
            As in XGBoost, a value between the means of a split's sides bounds all leaves below.
            A missing value goes left, and is outside of the guarantee: a test that parts missing
            values from numbers is not bound by it.
        random_state: seed of subsample and colsample; None draws one when the model is made.
        learner: "grow" adds a tree in every step. "refit" draws ``n_trees`` oblivious trees at
            random before the first step, and each step moves all leaves of all of them, by 1 /
            ``n_trees`` of the learning rate times the mean gradient of their rows, so that the
            model stays as large as it is. The tests are drawn anew three times while little is
            learnt, by what the features gain in trees grown on the gradients; with steps of fewer
            than 32 rows twice more, after 64 and 512. Their thresholds are next to values of rows,
            or with ``candidates="uniform"`` anywhere between the least and the greatest.
            ``score``, ``n_bins`` and ``min_samples_leaf`` say nothing then.
        n_trees: trees of a model that is refitted.

    Raises:
        ValueError: where a value breaks its rule; the message states both.
    """

    max_depth: int = 4
    grow_policy: GrowPolicy = "oblivious"
    score: Score = "cosine"
    candidates: Candidates = "quantile"
    n_bins: int = 255
    bins: Bins = "batch"
    min_samples_leaf: int = 0
    l2_regularization: float | None = None
    subsample: float = 1.0
    colsample: float = 1.0
    feature_weights: Sequence[float] | None = None
    categorical: Sequence[int] | None = None
    monotonic: Sequence[tuple[int, int, int]] | None = None
    random_state: int | None = None
    learner: Learner = "grow"
    n_trees: int = 200

    def __post_init__(self) -> None:
        """Check every value and make sequences tuples, so that params compare and hash."""
        one_of("learner", self.learner, get_args(Learner))
        one_of("grow_policy", self.grow_policy, get_args(GrowPolicy))
        one_of("score", self.score, get_args(Score))
        one_of("candidates", self.candidates, get_args(Candidates))
        one_of("bins", self.bins, get_args(Bins))
        self._set("max_depth", integer("max_depth", self.max_depth, 0, MAX_DEPTH))
        self._set("n_trees", integer("n_trees", self.n_trees, 1))
        self._set("n_bins", integer("n_bins", self.n_bins, 1, MAX_BINS))
        self._set("min_samples_leaf", integer("min_samples_leaf", self.min_samples_leaf, 0, 2**24))
        if self.l2_regularization is None:
            self._set("l2_regularization", 2.0 if self.learner == "refit" else 0.0)
        self._set("l2_regularization", non_negative("l2_regularization", self.l2_regularization))
        for name in ("subsample", "colsample"):
            self._set(name, share(name, getattr(self, name)))
        if self.random_state is not None:
            self._set("random_state", integer("random_state", self.random_state, 0, 2**63 - 1))
        if self.feature_weights is not None:
            weights = tuple(
                non_negative("feature_weights", weight) for weight in self.feature_weights
            )
            self._set("feature_weights", weights)
        if self.categorical is not None:
            indices = {integer("categorical", index, 0, 2**31 - 1) for index in self.categorical}
            self._set("categorical", tuple(sorted(indices)))
        if self.monotonic is not None:
            self._set("monotonic", _constraints(self.monotonic, self.categorical or ()))
        if self.learner == "refit":
            self._check_refit()

    def _check_refit(self) -> None:
        for name, value, reason in (
            ("grow_policy", "oblivious", "random trees have one test a level"),
            ("bins", "batch", "thresholds are drawn from rows"),
            ("colsample", 1, "every tree draws its own features"),
            ("monotonic", None, "leaves that move would not keep it"),
        ):
            given = getattr(self, name)
            if given != value and given != ():
                raise ValueError(
                    f"{name} must be {value!r} with learner='refit', since {reason}, got {given!r}"
                )

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # frozen for everybody else


def _constraints(
    triples: Sequence[Sequence[int]], categorical: Sequence[int]
) -> tuple[tuple[int, int, int], ...]:
    signs: dict[tuple[int, int], int] = {}
    for triple in triples:
        is_triple = isinstance(triple, (tuple, list, np.ndarray)) and len(triple) == 3
        if not is_triple or triple[2] not in (1, -1):
            raise ValueError(
                f"monotonic must hold (feature, output, sign) triples, sign 1 or -1, got {triple!r}"
            )
        feature, output = (integer("monotonic", index, 0, 2**31 - 1) for index in triple[:2])
        if feature in categorical:
            raise ValueError(
                f"monotonic features must be numeric, got feature {feature}, which is categorical"
            )
        if signs.setdefault((feature, output), int(triple[2])) != triple[2]:
            raise ValueError(
                f"monotonic must give a feature and output one sign, got both for {feature, output}"
            )
    return tuple(sorted((f, o, sign) for (f, o), sign in signs.items()))
