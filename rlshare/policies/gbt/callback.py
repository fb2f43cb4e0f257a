"""What a tree policy logs during ``learn``."""

import warnings

from stable_baselines3.common.callbacks import BaseCallback

from rlshare.policies.gbt.base import TreePolicy


class TreeCallback(BaseCallback):
    """Logs ``train/n_trees`` and ``time/tree_fit_ms``, the mean milliseconds per boosting step.

    With a ``tree_budget``, of every ensemble that was over it: ``train/compaction_kl`` and
    ``train/compaction_value_error`` of the last attempt, and ``train/compaction_accepted``, 1 or 0.

    Warns when the observations of a tree policy are normalised: trees need no scaling, and
    drifting statistics move the meaning of the thresholds already learnt.
    """

    def _init_callback(self) -> None:
        self._fitted = self._fit_totals()
        normalizer = self.model.get_vec_normalize_env()
        if isinstance(self.model.policy, TreePolicy) and normalizer and normalizer.norm_obs:
            warnings.warn(
                "VecNormalize(norm_obs=True) under a GBTPolicy: trees need no scaled observations "
                "and its drifting statistics move their thresholds; pass norm_obs=False",
                UserWarning,
                stacklevel=2,
            )

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if not isinstance(self.model.policy, TreePolicy):
            return
        self.logger.record("train/n_trees", self.model.policy.n_trees)
        budget = getattr(self.model.policy, "budget", None)
        if budget is not None:
            for report in budget.reports.values():
                self.logger.record_mean("train/compaction_kl", report.kl)
                self.logger.record_mean("train/compaction_value_error", report.value_error)
                self.logger.record_mean("train/compaction_accepted", float(report.accepted))
        seconds, steps = self._fit_totals()
        new_seconds, new_steps = seconds - self._fitted[0], steps - self._fitted[1]
        if new_steps:
            self.logger.record_mean("time/tree_fit_ms", 1e3 * new_seconds / new_steps)
        self._fitted = seconds, steps

    def _fit_totals(self) -> tuple[float, int]:
        policy = self.model.policy
        optimizers = policy.tree_optimizers if isinstance(policy, TreePolicy) else []
        return sum(b.fit_seconds for b in optimizers), sum(b.n_fits for b in optimizers)
