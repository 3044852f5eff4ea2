"""The bank of prototypes: special cases, momentum, labels never seen, memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from scgroove.losses import Prototypes, ScreenInfo, TermBatch, group_clip_loss


def cells(n_labels=5, per_label=1, k=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    labels = {m: torch.arange(n_labels).repeat_interleave(per_label) for m in "ab"}
    return {m: torch.randn(len(labels[m]), k, generator=rng) for m in "ab"}, labels


def batch(z, labels, similarity="cosine"):
    networks = SimpleNamespace(modalities=["a", "b"], n_latent=4, similarity=similarity)
    return TermBatch(networks, {}, {}, z, {}, labels, labels)


def bank(n_labels=5, **options):
    term = Prototypes(**options)
    names = [f"g{i}" for i in range(n_labels)]
    networks = SimpleNamespace(modalities=["a", "b"], n_latent=4)
    term.setup(networks, ScreenInfo(names, torch.ones(2, n_labels)))
    return term.eval()


def test_without_momentum_and_with_one_cell_a_label_it_is_groupclip():
    z, labels = cells()
    term = bank(momentum=0.0, temperature=0.3).train()
    torch.testing.assert_close(term(batch(z, labels)), group_clip_loss(z, labels, temperature=0.3))


def test_momentum_by_hand():
    z, labels = cells(per_label=2)
    later, _ = cells(per_label=2, seed=1)
    term = bank(6)
    term.follow(batch(z, labels))
    first = F.normalize(z["a"].view(5, 2, 4).mean(1), dim=1)
    torch.testing.assert_close(term.prototypes[0, :5], first)
    term.follow(batch(later, labels))
    second = F.normalize(later["a"].view(5, 2, 4).mean(1), dim=1)
    torch.testing.assert_close(
        term.prototypes[0, :5], F.normalize(0.9 * first + 0.1 * second, dim=1)
    )
    assert term.seen.tolist() == [[True] * 5 + [False]] * 2
    assert not term.prototypes[:, 5].any()


def test_labels_that_were_never_seen_are_no_candidates():
    z, labels = cells()
    small, large = bank(5), bank(50)
    for term in (small, large):
        term.follow(batch(z, labels))
    assert torch.equal(small(batch(z, labels)), large(batch(z, labels)))


def test_labels_that_are_not_in_the_batch_are_candidates():
    z, labels = cells()
    few = {m: torch.tensor([0, 1, -1, -1, -1]) for m in "ab"}
    term = bank(temperature=0.5)
    term.follow(batch(z, labels))
    sims = {
        m: F.normalize(z[m][:2], dim=1) @ F.normalize(z[n], dim=1).T / 0.5 for m, n in ("ab", "ba")
    }
    expected = sum(-F.log_softmax(s, dim=1)[[0, 1], [0, 1]].mean() for s in sims.values()) / 2
    assert term(batch(z, few)).item() == pytest.approx(expected.item(), abs=1e-6)


def test_gradients_go_through_anchors_only():
    z, labels = cells()
    term = bank()
    leaves = {m: v.clone().requires_grad_() for m, v in z.items()}
    term.follow(batch(leaves, labels))
    term(batch({"a": leaves["a"], "b": z["b"]}, labels)).backward()
    assert leaves["a"].grad.abs().sum() > 0
    assert not term.prototypes.requires_grad


def test_unlabeled_cells_change_nothing():
    z, labels = cells()
    none = {m: torch.full((5,), -1) for m in "ab"}
    term = bank()
    term.follow(batch(z, none))
    assert not term.seen.any()
    assert term(batch({m: v.requires_grad_() for m, v in z.items()}, labels)).item() == 0


@pytest.mark.parametrize("kind", ["dot", "euclidean"])
def test_lengths_are_kept_where_they_matter(kind):
    z, labels = cells(per_label=2)
    term = bank()
    term.follow(batch(z, labels, kind))
    torch.testing.assert_close(term.prototypes[1], z["b"].view(5, 2, 4).mean(1))


@pytest.mark.parametrize("options", [{"momentum": 1.0}, {"temperature": 0.0}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Prototypes(**options)
