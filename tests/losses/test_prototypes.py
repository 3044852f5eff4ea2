"""The bank of prototypes: special cases, momentum, labels never seen, memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from scgroove.losses import PrototypeBank, group_clip_loss


def batch(n_labels=5, per_label=1, k=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    labels = {m: torch.arange(n_labels).repeat_interleave(per_label) for m in "ab"}
    return {m: torch.randn(len(labels[m]), k, generator=rng) for m in "ab"}, labels


def test_without_momentum_and_with_one_cell_a_label_it_is_groupclip():
    z, labels = batch()
    bank = PrototypeBank("ab", 5, 4, momentum=0.0)
    bank.update(z, labels)
    torch.testing.assert_close(bank(z, labels, temperature=0.3), group_clip_loss(z, labels, temperature=0.3))


def test_momentum_by_hand():
    z, labels = batch(per_label=2)
    later, _ = batch(per_label=2, seed=1)
    bank = PrototypeBank("ab", 6, 4)
    bank.update(z, labels)
    first = F.normalize(z["a"].view(5, 2, 4).mean(1), dim=1)
    torch.testing.assert_close(bank.prototypes[0, :5], first)
    bank.update(later, labels)
    second = F.normalize(later["a"].view(5, 2, 4).mean(1), dim=1)
    torch.testing.assert_close(bank.prototypes[0, :5], F.normalize(0.9 * first + 0.1 * second, dim=1))
    assert bank.seen.tolist() == [[True] * 5 + [False]] * 2
    assert not bank.prototypes[:, 5].any()


def test_labels_that_were_never_seen_are_no_candidates():
    z, labels = batch()
    small, large = PrototypeBank("ab", 5, 4), PrototypeBank("ab", 50, 4)
    for bank in (small, large):
        bank.update(z, labels)
    assert torch.equal(small(z, labels), large(z, labels))


def test_labels_that_are_not_in_the_batch_are_candidates():
    z, labels = batch()
    few = {m: torch.tensor([0, 1, -1, -1, -1]) for m in "ab"}
    bank = PrototypeBank("ab", 5, 4)
    bank.update(z, labels)
    sims = {m: F.normalize(z[m][:2], dim=1) @ F.normalize(z[n], dim=1).T / 0.5 for m, n in ("ab", "ba")}
    expected = sum(-F.log_softmax(s, dim=1)[[0, 1], [0, 1]].mean() for s in sims.values()) / 2
    assert bank(z, few, temperature=0.5).item() == pytest.approx(expected.item(), abs=1e-6)


def test_gradients_go_through_anchors_only():
    z, labels = batch()
    bank = PrototypeBank("ab", 5, 4)
    leaves = {m: v.clone().requires_grad_() for m, v in z.items()}
    bank.update(leaves, labels)
    bank({"a": leaves["a"], "b": z["b"]}, labels).backward()
    assert leaves["a"].grad.abs().sum() > 0
    assert not bank.prototypes.requires_grad


def test_unlabelled_cells_change_nothing():
    z, labels = batch()
    none = {m: torch.full((5,), -1) for m in "ab"}
    bank = PrototypeBank("ab", 5, 4)
    bank.update(z, none)
    assert not bank.seen.any()
    assert bank({m: v.requires_grad_() for m, v in z.items()}, labels).item() == 0


@pytest.mark.parametrize("kind", ["dot", "euclidean"])
def test_lengths_are_kept_where_they_matter(kind):
    z, labels = batch(per_label=2)
    bank = PrototypeBank("ab", 5, 4, kind=kind)
    bank.update(z, labels)
    torch.testing.assert_close(bank.prototypes[1], z["b"].view(5, 2, 4).mean(1))


def test_momentum_out_of_range():
    with pytest.raises(ValueError, match=r"momentum must be at least 0 and below 1; found 1\.0"):
        PrototypeBank("ab", 5, 4, momentum=1.0)
