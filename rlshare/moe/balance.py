"""What keeps all experts in use: losses of the routing, and a bias that answers to the load."""

from typing import Any

import torch
from torch import Tensor

from rlshare import _core
from rlshare.moe.reference import Routes

_BIAS_RATE = 1e-3
_LOAD_ROWS = 50_000  # over which the load that the bias answers to is averaged


def balance_loss(rules: _core.RoutingRules, logits: Tensor, routes: Routes) -> Tensor:
    """Return the balance and z losses of a batch of n > 0 rows, with their coefficients.

    entropy: sum_e m_e log m_e with m the mean probability, minimal at uniform use. switch:
    E sum_e F_e m_e with the share F of the selections (Fedus et al., arXiv 2101.03961).
    importance: the squared coefficient of variation of the summed gates (Shazeer et al.,
    arXiv 1701.06538). z: the mean of squared log-sum-exps (Zoph et al., arXiv 2202.08906).
    """
    n_experts = logits.shape[1]
    mean = routes.probabilities.mean(0)
    one_hot = torch.nn.functional.one_hot(routes.experts, n_experts).to(mean.dtype)
    if rules.balance == "entropy":
        loss = (mean * mean.clamp_min(1e-30).log()).sum()
    elif rules.balance == "switch":
        loss = n_experts * (one_hot.mean((0, 1)) * mean).sum()
    elif rules.balance == "importance":
        sums = (one_hot * routes.gates[:, :, None]).sum((0, 1))
        loss = sums.var(unbiased=False) / sums.mean() ** 2
    else:
        loss = mean.new_zeros(())
    log_sums = torch.logsumexp(logits.to(mean.dtype), 1)
    return rules.balance_coef * loss + rules.z_coef * log_sums.square().mean()


class WithLoss(torch.autograd.Function):
    """x, whose backward pass adds the gradient of a scalar loss with factor 1."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, loss: Tensor) -> Tensor:
        """Return x."""
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Keep what the loss is like."""
        ctx.dtype = inputs[1].dtype

    @staticmethod
    def backward(ctx: Any, d_x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient unchanged, and 1."""
        return d_x, torch.ones((), dtype=ctx.dtype, device=d_x.device)


@torch.no_grad()
def move_bias(bias: Tensor, load: Tensor, counts: Tensor, top_k: int) -> None:
    """Move the bias of the selection a step against the load (Wang et al., arXiv 2408.15664).

    Args:
        bias: [E], moved.
        load: [E], running share of the selections over about 50,000 rows, moved before.
        counts: [E], rows by expert since the last move.
        top_k: experts a row was sent to.
    """
    rows = float(counts.sum()) / top_k
    if rows > 0:
        load.lerp_((counts / counts.sum()).to(load), min(1.0, rows / _LOAD_ROWS))
        bias.add_(torch.sign(1 / len(load) - load), alpha=_BIAS_RATE)
