"""Trees under a torch loss: gradients, tape, optimizer."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rlshare.trees import BoostedTrees, TreeParams
from rlshare.trees.torch.module import TreeEnsemble
from rlshare.trees.torch.optimizer import BoostingOptimizer
from rlshare.trees.torch.tape import GradClip, clip_rows

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
Y = torch.from_numpy(np.stack([X[:, 0] > 0, X[:, 1] * X[:, 2]], axis=1).astype(np.float32))


def ensemble(max_depth: int = 3, learning_rate: float = 0.5) -> TreeEnsemble:
    trees = BoostedTrees(3, 2, TreeParams(max_depth=max_depth), learning_rate=learning_rate)
    return TreeEnsemble(trees)


def squared_error(module: TreeEnsemble, reduction: str = "mean") -> torch.Tensor:
    per_sample = ((module(X) - Y) ** 2).sum(dim=1) / 2
    return per_sample.mean() if reduction == "mean" else per_sample.sum()


def grown(module: TreeEnsemble) -> bytes:
    return module.trees.to_bytes()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_are_those_of_each_sample(reduction: str) -> None:
    module = ensemble()
    optimizer = BoostingOptimizer([module], reduction=reduction)
    reference = module.trees.copy()
    for _ in range(3):
        optimizer.zero_grad()
        squared_error(module, reduction).backward()
        optimizer.step()
        reference.step(X, reference.predict(X) - Y.numpy())
    # n = 64 is a power of two, so that n * (g / n) is g to the last bit
    assert grown(module) == reference.to_bytes()


def test_any_loss_falls() -> None:
    module = ensemble()
    optimizer = BoostingOptimizer([module])
    losses = []
    for _ in range(60):
        loss = torch.nn.functional.smooth_l1_loss(module(X), Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_zero_grad_comes_after_forward_and_keeps_the_tape() -> None:
    module = ensemble()
    optimizer = BoostingOptimizer([module])
    loss = squared_error(module)
    loss.backward(retain_graph=True)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    once = ensemble()
    squared_error(once).backward()
    BoostingOptimizer([once]).step()
    assert grown(module) == grown(once)


def test_step_clears_the_tape() -> None:
    module = ensemble()
    optimizer = BoostingOptimizer([module])
    squared_error(module).backward()
    optimizer.step()
    optimizer.step()
    assert module.trees.n_trees == 1


def test_forward_passes_without_gradient_are_ignored() -> None:
    module, plain = ensemble(), ensemble()
    for m in (module, plain):
        if m is module:
            module(X)
            with torch.no_grad():
                module(X)
        squared_error(m).backward()
        BoostingOptimizer([m]).step()
    assert grown(module) == grown(plain)


def test_train_false_clears_the_tape() -> None:
    module = ensemble()
    optimizer = BoostingOptimizer([module])
    squared_error(module).backward()
    module.train(False)
    module.train(True)
    optimizer.step()
    assert module.trees.n_trees == 0


@pytest.mark.parametrize("mode", [True, False])
def test_gradients_come_where_they_are_enabled(mode: bool) -> None:
    module = ensemble()
    module.train(mode)
    with torch.no_grad():
        assert not module(X).requires_grad
    assert module(X).requires_grad


def test_two_passes_before_a_step_grow_one_tree_on_both() -> None:
    module = ensemble()
    for half in (slice(0, 32), slice(32, 64)):
        (((module(X[half]) - Y[half]) ** 2).sum(dim=1) / 2).mean().backward()
    BoostingOptimizer([module]).step()
    reference = ensemble().trees
    reference.step(X, -Y.numpy())
    assert grown(module) == reference.to_bytes()


def test_clip_rows_scales_only_long_rows() -> None:
    grads = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], np.float32)
    clip_rows(grads, 1.0)
    np.testing.assert_allclose(grads, [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]], rtol=1e-6)


def test_blocks_of_columns_are_clipped_apart() -> None:
    trees = BoostedTrees(3, 2, TreeParams(max_depth=0), learning_rate=1.0)
    module = TreeEnsemble(trees, [GradClip(0, 1, 0.5), GradClip(1, 2, 2.0)])
    (module(X) * torch.tensor([4.0, 4.0])).sum().backward()
    BoostingOptimizer([module], reduction="sum").step()
    np.testing.assert_allclose(trees.predict(X[:1]), [[-0.5, -2.0]], rtol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_gradient_changes_nothing(bad: float) -> None:
    first, second = ensemble(), ensemble()
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = BoostingOptimizer([first, second], torch.optim.Adam([weight], lr=1.0))
    before = grown(first), grown(second)
    loss = first(X).mean() * weight + (second(X)[5] * bad).sum()
    loss.backward()
    with pytest.raises(ValueError, match=r"gradients must be finite .* got (nan|inf) in row 5"):
        optimizer.step()
    assert (grown(first), grown(second)) == before
    assert weight.item() == 1.0
    optimizer.step()  # the passes of the failed step are gone
    assert first.trees.n_trees == 0


def test_a_step_that_the_second_ensemble_refuses_changes_neither() -> None:
    """Its rate times its gradient is beyond float32."""
    first, second = ensemble(), ensemble(learning_rate=1e30)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = BoostingOptimizer([first, second], torch.optim.Adam([weight], lr=1.0))
    squared_error(first).backward()
    optimizer.step()
    before = grown(first), grown(second)
    ((first(X).mean() + second(X).sum() * 1e20) * weight).sum().backward()
    with pytest.raises(ValueError, match="must fit float32"):
        optimizer.step()
    assert (grown(first), grown(second)) == before
    assert weight.item() == 1.0


def test_a_bad_torch_gradient_changes_nothing() -> None:
    module = ensemble()
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = BoostingOptimizer([module], torch.optim.Adam([weight], lr=1.0))
    squared_error(module).backward()
    weight.grad = torch.full((1,), float("nan"))
    with pytest.raises(ValueError, match="gradients must be finite"):
        optimizer.step()
    assert module.trees.n_trees == 0
    assert weight.item() == 1.0


def test_the_groups_rate_drives_trees_and_torch_parameters() -> None:
    module = ensemble(max_depth=0, learning_rate=1.0)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = BoostingOptimizer(
        [module], torch.optim.SGD([weight], lr=0.01), lr=0.01, torch_lr=lambda t: 0.5
    )
    optimizer.param_groups[0]["lr"] = 0.0025  # a quarter, as a schedule of SB3 writes it
    (module(X).sum(dim=1).mean() + weight).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(module.trees.predict(X[:1]), [[-0.25, -0.25]])
    assert weight.item() == -0.125
    assert optimizer.param_groups[0]["lr"] == 0.0025


def test_refuses_an_initial_rate_of_zero_only_when_stepping() -> None:
    module = ensemble()
    optimizer = BoostingOptimizer([module], lr=0.0)
    squared_error(module).backward()
    with pytest.raises(ValueError, match=r"must be > 0 to train, got 0.0"):
        optimizer.step()
    assert module.trees.n_trees == 0


def test_refuses_an_unknown_reduction() -> None:
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'sum', got 'max'"):
        BoostingOptimizer([ensemble()], reduction="max")


def test_closure() -> None:
    module = ensemble()
    optimizer = BoostingOptimizer([module])

    def closure() -> float:
        loss = squared_error(module)
        loss.backward()
        return loss.item()

    first = optimizer.step(closure)
    second = optimizer.step(closure)
    assert first is not None
    assert second is not None
    assert second < first


def test_forward_rows_equals_forward_bit_for_bit() -> None:
    module = ensemble()
    optimizer = BoostingOptimizer([module])
    rollout = object()
    module.cache_rows(rollout, X)
    rows: NDArray[np.int64] = np.random.default_rng(1).permutation(64)[:20]
    for _ in range(5):
        assert torch.equal(module.forward_rows(rows), module(X[rows]))
        module.clear_tape()
        squared_error(module).backward()
        optimizer.step()
    assert module.has_cached(rollout)
    assert not module.has_cached(object())


def test_rows_that_come_again_keep_their_margins() -> None:
    module = ensemble()
    optimizer = BoostingOptimizer([module])
    x = np.vstack([X, X[:8] + 1]).astype(np.float32)
    x[3] = np.nan
    module.cache_rows(object(), x[:40])
    everything = np.arange(40)
    for _ in range(5):
        squared_error(module).backward()
        optimizer.step()
        module.forward_rows(everything)
    module.clear_tape()
    x[5] += 1  # the memory is written over, as that of a replay buffer
    before = module.n_evaluations
    module.cache_rows(object(), x)
    assert module.n_evaluations == before + 5 * (len(x) - 40 + 1)
    assert torch.equal(module.forward_rows(np.arange(len(x))), module(x))
    module.cache_rows(object(), x[:10])  # a buffer that was emptied
    assert torch.equal(module.forward_rows(np.arange(10)), module(x[:10]))


def test_a_compaction_renews_the_margins() -> None:
    module = ensemble()
    optimizer = BoostingOptimizer([module])
    rollout = object()
    module.cache_rows(rollout, X)
    for _ in range(8):
        squared_error(module).backward()
        optimizer.step()
        module.forward_rows(np.arange(64))
    assert module.trees.compact(X, 6, 2)
    squared_error(module).backward()
    optimizer.step()
    assert module.has_cached(rollout)
    assert torch.equal(module.forward_rows(np.arange(64)), module(X))
    module.cache_rows(object(), X)
    assert torch.equal(module.forward_rows(np.arange(64)), module(X))


def test_forward_rows_needs_rows() -> None:
    with pytest.raises(ValueError, match="call cache_rows first"):
        ensemble().forward_rows(np.arange(3))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_go_on_alone_and_alike(duplicate) -> None:
    module = ensemble()
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = BoostingOptimizer([module], torch.optim.Adam([weight], lr=0.1))

    def step(module: TreeEnsemble, optimizer: BoostingOptimizer, weight: torch.Tensor) -> None:
        (squared_error(module) + weight.square().sum()).backward()
        optimizer.step()

    step(module, optimizer, weight)
    module(X)  # a pending pass is not copied
    module.cache_rows(object(), X)
    other_module, other_optimizer, other_weight = duplicate((module, optimizer, weight))
    assert other_optimizer.ensembles[0] is other_module
    assert other_optimizer.param_groups[0]["params"][0] is other_weight
    module.clear_tape()
    optimizer.zero_grad()
    other_optimizer.zero_grad()
    step(other_module, other_optimizer, other_weight)
    assert module.trees.n_trees == 1
    step(module, optimizer, weight)
    assert grown(module) == grown(other_module)
    assert torch.equal(weight, other_weight)


def test_state_dict_is_a_uint8_tensor_and_restores() -> None:
    module = ensemble()
    squared_error(module).backward()
    BoostingOptimizer([module]).step()
    state = module.state_dict()
    assert state["_extra_state"].dtype == torch.uint8
    other = ensemble()
    other.load_state_dict(state)
    assert grown(other) == grown(module)


def test_a_damaged_state_is_a_runtime_error_and_changes_nothing() -> None:
    module = ensemble()
    before = grown(module)
    state = module.state_dict()
    state["_extra_state"][30] ^= 1
    with pytest.raises(RuntimeError, match="not a valid rlshare model file"):
        module.load_state_dict(state)
    other = TreeEnsemble(BoostedTrees(4, 2))
    with pytest.raises(
        RuntimeError, match=r"must be \(3, 2\).*got \(4, 2\)|= \(3, 2\), got \(4, 2\)"
    ):
        module.load_state_dict(other.state_dict())
    assert grown(module) == before


def test_a_schedule_beside_the_trees_goes_by_steps_and_not_by_trees() -> None:
    """A compaction leaves fewer trees than there were steps."""
    module = ensemble()
    weight = torch.nn.Parameter(torch.zeros(1))
    asked: list[int] = []

    def rate(t: int) -> float:
        asked.append(t)
        return 0.1

    optimizer = BoostingOptimizer([module], torch.optim.SGD([weight], lr=1.0), torch_lr=rate)
    for k in range(8):
        squared_error(module).backward()
        optimizer.step()
        if k == 5:
            assert module.trees.compact(X, 6, 2)
    assert asked == list(range(8))
    assert module.trees.n_trees == 4


def test_a_gradient_that_comes_twice_is_one_pass() -> None:
    """Torch adds the gradients of one output up; the pass must not be fitted on twice."""
    module, reference = ensemble(), ensemble()
    loss = squared_error(module)
    loss.backward(retain_graph=True)
    loss.backward()
    BoostingOptimizer([module]).step()
    (2 * squared_error(reference)).backward()
    BoostingOptimizer([reference]).step()
    assert grown(module) == grown(reference)


def test_passes_are_joined_in_the_order_they_were_made() -> None:
    """Sums in another order have other last bits."""
    module, reference = ensemble(), ensemble()
    halves = [((module(X[part]) - Y[part]) ** 2).mean() for part in (slice(0, 20), slice(20, 64))]
    for half in reversed(halves):
        half.backward()
    source, _, grads = module.batch("sum") or (X, None, X)
    np.testing.assert_array_equal(source, X)
    expected = [
        ((reference(X[part]) - Y[part]) ** 2).mean() for part in (slice(0, 20), slice(20, 64))
    ]
    for half in expected:
        half.backward()
    np.testing.assert_array_equal(grads, (reference.batch("sum") or (X, None, X))[2])


def test_norms_of_large_gradients_do_not_overflow() -> None:
    grads = np.array([[3e30, 4e30], [0.3, 0.4]], np.float32)  # whose squares are no float32
    clip_rows(grads, 1.0)
    np.testing.assert_allclose(grads, [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)


def test_loaded_trees_are_not_grown_on_gradients_of_others() -> None:
    module, other = ensemble(), ensemble()
    squared_error(module).backward()
    module.load_state_dict(other.state_dict())
    BoostingOptimizer([module]).step()
    assert module.trees.n_trees == 0


def test_rollout_bins_of_two_rollouts_do_not_share_a_step() -> None:
    params = TreeParams(max_depth=3, bins="rollout")
    module = TreeEnsemble(BoostedTrees(3, 2, params))
    optimizer = BoostingOptimizer([module])
    rows = np.arange(64)
    for rollout in (X, X + 1):
        module.cache_rows(rollout, rollout)
        module.forward_rows(rows).square().sum().backward()
    with pytest.raises(ValueError, match="different rollouts must not share one step"):
        optimizer.step()
    assert module.trees.n_trees == 0


def test_rows_of_before_a_compaction_are_summed_anew() -> None:
    module = ensemble()
    optimizer = BoostingOptimizer([module])
    for _ in range(8):
        squared_error(module).backward()
        optimizer.step()
    module.cache_rows(object(), X)
    assert module.trees.compact(X, 6, 2)
    module.cache_rows(object(), X)  # the same rows in another rollout
    assert torch.equal(module.forward_rows(np.arange(64)), module(X))


def test_a_loaded_state_is_that_of_both_optimizers() -> None:
    def made() -> tuple[BoostingOptimizer, torch.nn.Parameter]:
        weight = torch.nn.Parameter(torch.zeros(1))
        return BoostingOptimizer([ensemble()], torch.optim.SGD([weight], lr=1.0)), weight

    (saved, _), (optimizer, weight) = made(), made()
    optimizer.load_state_dict(saved.state_dict())
    optimizer.param_groups[0]["lr"] = 0.5  # as a schedule of SB3 does
    weight.grad = torch.ones(1)
    optimizer.step()
    assert weight.item() == -0.5
