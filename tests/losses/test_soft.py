"""Soft GroupCLIP against a triple loop, against the plain loss, and at its edges."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.losses import clip_loss, group_clip_anchors, group_clip_loss
from scgroove.losses._groupclip import label_agreement


def case(seed, sizes=(7, 5), k=4, n_labels=3):
    rng = np.random.default_rng(seed)
    z = {f"m{i}": torch.tensor(rng.normal(size=(n, k))) for i, n in enumerate(sizes)}
    labels = {f"m{i}": torch.tensor(rng.integers(-1, n_labels, n)) for i, n in enumerate(sizes)}
    return z, labels


def one_hot(codes, n_labels=3):
    return (
        torch.nn.functional.one_hot(codes.clamp_min(0), n_labels).double() * (codes >= 0)[:, None]
    )


def triple_loop(z, q, weights, agreement, tau):
    """The formula of the docstring, cell by cell and label by label."""
    pairs = []
    for m in z:
        for other in z:
            if m == other:
                continue
            above = below = 0.0
            for i in range(len(z[m])):
                same = total = 0.0
                for j in range(len(z[other])):
                    if float(q[other][j].sum()) == 0:
                        continue
                    s = sum(
                        float(q[m][i, g] * agreement[g, h] * q[other][j, h])
                        for g in range(q[m].shape[1])
                        for h in range(q[m].shape[1])
                    )
                    a, b = z[m][i], z[other][j]
                    e = float(weights[other][j]) * math.exp(
                        float(a @ b / a.norm() / b.norm()) / tau
                    )
                    same += e * min(1.0, max(0.0, s))
                    total += e
                if same > 0:
                    above += float(weights[m][i]) * -math.log(same / total)
                    below += float(weights[m][i])
            if below:
                pairs.append(above / below)
    return float(np.mean(pairs)) if pairs else 0.0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_equals_the_triple_loop(seed):
    z, labels = case(seed)
    rng = np.random.default_rng(seed)
    q = {m: one_hot(c) for m, c in labels.items()}
    weights = {
        m: torch.tensor(rng.uniform(size=len(v)) * (rng.uniform(size=len(v)) > 0.2))
        for m, v in z.items()
    }
    k = rng.uniform(size=(3, 3)) * 0.5
    agreement = torch.tensor(np.maximum(k, k.T))
    agreement.fill_diagonal_(1.0)
    expected = triple_loop(z, q, weights, agreement, 0.2)
    found = group_clip_loss(
        z, labels, weights=weights, agreement=agreement.float(), temperature=0.2
    )
    assert float(found) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("positives", ["inside", "outside"])
@pytest.mark.parametrize("kind", ["cosine", "dot", "euclidean"])
def test_whole_labels_and_unit_weights_are_the_plain_loss(kind, positives):
    z, labels = case(3)
    z = {m: v.requires_grad_() for m, v in z.items()}
    how = {"temperature": 0.3, "kind": kind, "positives": positives}
    plain = group_clip_loss(z, labels, **how)
    ways = {
        "weights": {"weights": {m: torch.ones(len(v)) for m, v in z.items()}},
        "agreement": {"agreement": torch.eye(3)},
    }
    of_plain = torch.autograd.grad(plain, list(z.values()))
    for options in ways.values():
        soft = group_clip_loss(z, labels, **options, **how)
        assert float(soft) == pytest.approx(float(plain), abs=1e-6)
        for a, b in zip(torch.autograd.grad(soft, list(z.values())), of_plain, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_one_cell_of_each_label_is_clip():
    z, _ = case(0, sizes=(6, 6))
    codes = {m: torch.arange(6) for m in z}
    soft = group_clip_loss(z, codes, weights={m: torch.ones(6) for m in z})
    assert float(soft) == pytest.approx(float(clip_loss(z["m0"], z["m1"])), abs=1e-6)


def test_a_cell_of_weight_zero_changes_nothing_and_learns_nothing():
    z, labels = case(5, sizes=(8, 8))
    z = {m: v.requires_grad_() for m, v in z.items()}
    weights = {m: torch.ones(8) for m in z}
    weights["m0"][2] = weights["m1"][5] = 0.0
    loss = group_clip_loss(z, labels, weights=weights)
    of = torch.autograd.grad(loss, list(z.values()))
    assert not of[0][2].any()
    assert not of[1][5].any()
    assert of[0].abs().sum() > 0
    keep = {m: w > 0 for m, w in weights.items()}
    without = group_clip_loss({m: z[m][keep[m]] for m in z}, {m: labels[m][keep[m]] for m in z})
    assert float(loss) == pytest.approx(float(without), abs=1e-6)


def test_two_halves_are_one_candidate():
    z, labels = case(7)
    labels = {m: c.clamp_min(0) for m, c in labels.items()}
    double = torch.cat([z["m1"], z["m1"][:1]])
    codes = torch.cat([labels["m1"], labels["m1"][:1]])
    v = torch.ones(len(double))
    v[0] = v[-1] = 0.5
    once, _ = group_clip_anchors(z["m0"], z["m1"], labels["m0"], labels["m1"])
    halves, _ = group_clip_anchors(z["m0"], double, labels["m0"], codes, weights_y=v)
    torch.testing.assert_close(once, halves)


def test_anchors_without_a_positive_have_no_gradient():
    z = {"a": torch.randn(3, 4, requires_grad=True), "b": torch.randn(3, 4, requires_grad=True)}
    labels = {"a": torch.tensor([0, 1, 1]), "b": torch.tensor([0, 0, 2])}
    loss = group_clip_loss(z, labels, weights={m: torch.full((3,), 0.5) for m in z})
    a, b = torch.autograd.grad(loss, list(z.values()))
    assert torch.isfinite(loss)
    assert torch.isfinite(a).all()
    assert torch.isfinite(b).all()
    _, anchors = group_clip_anchors(*z.values(), *labels.values())
    assert anchors.tolist() == [0]
    none = group_clip_loss(
        z, {"a": torch.tensor([0, 0, 0]), "b": torch.tensor([1, 1, 1])}, agreement=torch.eye(2)
    )
    assert float(none) == 0
    assert not any(g.any() for g in torch.autograd.grad(none, list(z.values())))


def test_codes_may_be_permuted_and_modalities_swapped():
    z, labels = case(11)
    order = torch.tensor([2, 0, 1])
    k = torch.tensor([[1.0, 0.3, 0.0], [0.3, 1.0, 0.2], [0.0, 0.2, 1.0]])
    again = torch.empty_like(k)
    again[order[:, None], order[None, :]] = k
    moved = {m: torch.where(c >= 0, order[c.clamp_min(0)], c) for m, c in labels.items()}
    first = group_clip_loss(z, labels, agreement=k)
    second = group_clip_loss({m: z[m] for m in reversed(z)}, moved, agreement=again)
    assert float(first) == pytest.approx(float(second), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_for_extreme_logits(dtype):
    z, labels = case(13)
    z = {m: (v * 1e3).to(dtype).requires_grad_() for m, v in z.items()}
    weights = {m: torch.full((len(v),), 1e-3) for m, v in z.items()}
    loss = group_clip_loss(z, labels, weights=weights, kind="dot")
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, list(z.values())))


def test_gradient_is_that_of_differences():
    z, labels = case(17)
    weights = {m: torch.rand(len(v), dtype=torch.float64) for m, v in z.items()}

    def loss(a, b):
        return group_clip_loss({"m0": a, "m1": b}, labels, weights=weights, temperature=0.5)

    values = [v.double().requires_grad_() for v in z.values()]
    # weights are float32 inside: the tolerance is that of their rounding
    assert torch.autograd.gradcheck(loss, values, atol=1e-5)


def test_blocks_are_the_whole(monkeypatch):
    z, labels = case(19, sizes=(23, 11))
    z = {m: v.requires_grad_() for m, v in z.items()}
    weights = {m: torch.rand(len(v)) for m, v in z.items()}
    whole = group_clip_loss(z, labels, weights=weights)
    of_whole = torch.autograd.grad(whole, list(z.values()))
    monkeypatch.setattr("scgroove.losses.similarities.BLOCK_VALUES", 33)
    parts = group_clip_loss(z, labels, weights=weights)
    assert float(parts) == pytest.approx(float(whole), abs=1e-6)
    for a, b in zip(torch.autograd.grad(parts, list(z.values())), of_whole, strict=True):
        torch.testing.assert_close(a, b)


def test_agreement_by_hand():
    k = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    codes, other = torch.tensor([0, 1, -1]), torch.tensor([1, -1])
    torch.testing.assert_close(
        label_agreement(codes, other), torch.tensor([[0.0, 0], [1, 0], [0, 0]])
    )
    torch.testing.assert_close(
        label_agreement(codes, other, k), torch.tensor([[0.5, 0], [1, 0], [0, 0]])
    )
