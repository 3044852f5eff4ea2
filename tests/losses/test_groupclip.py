"""GroupCLIP against a plain double loop, its special cases, its gradients, and its behavior at the edges."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scgroove.losses import GroupCLIP, clip_loss, group_clip_anchors, group_clip_loss, supcon_loss

KINDS = ("cosine", "dot", "euclidean")


def similarity_of(x, y, kind):
    if kind == "cosine":
        return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))
    if kind == "dot":
        return float(x @ y)
    return -float(((x - y) ** 2).sum())


def double_loop(z, labels, tau, kind, positives):
    """Equation 3 of the paper, written out cell by cell."""
    pairs = []
    for m in z:
        for other in z:
            if m == other:
                continue
            terms = []
            for zi, yi in zip(z[m], labels[m], strict=True):
                candidates = [
                    (math.exp(similarity_of(zi, za, kind) / tau), ya)
                    for za, ya in zip(z[other], labels[other], strict=True)
                    if ya >= 0
                ]
                same = [e for e, ya in candidates if ya == yi]
                if yi < 0 or not same:
                    continue
                total = sum(e for e, _ in candidates)
                if positives == "inside":
                    terms.append(-math.log(sum(same) / total))
                else:
                    terms.append(-np.mean([math.log(e / total) for e in same]))
            if terms:
                pairs.append(np.mean(terms))
    return float(np.mean(pairs)) if pairs else 0.0


def random_case(seed, sizes=(7, 5), k=4, n_labels=3):
    rng = np.random.default_rng(seed)
    z = {f"m{i}": rng.normal(size=(n, k)) for i, n in enumerate(sizes)}
    labels = {f"m{i}": rng.integers(-1, n_labels, n) for i, n in enumerate(sizes)}
    return z, labels


def tensors(values):
    return {m: torch.as_tensor(v) for m, v in values.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("positives", ["inside", "outside"])
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 8), min_size=2, max_size=3),
    tau=st.floats(0.1, 2.0),
)
def test_equals_the_double_loop(kind, positives, seed, sizes, tau):
    z, labels = random_case(seed, sizes)
    found = group_clip_loss(
        tensors(z), tensors(labels), temperature=tau, kind=kind, positives=positives
    )
    assert float(found) == pytest.approx(double_loop(z, labels, tau, kind, positives), abs=1e-6)


def test_by_hand():
    # one anchor, two candidates of which one is positive, dot similarities 1 and 0, tau 1
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss, _ = group_clip_anchors(
        x, y, torch.tensor([0]), torch.tensor([0, 1]), temperature=1.0, kind="dot"
    )
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-1)))


@pytest.mark.parametrize("kind", KINDS)
def test_one_cell_a_label_is_clip(kind):
    rng = np.random.default_rng(1)
    x, y = torch.as_tensor(rng.normal(size=(6, 3))), torch.as_tensor(rng.normal(size=(6, 3)))
    order = torch.as_tensor(rng.permutation(6))
    z, labels = {"a": x, "b": y[order]}, {"a": torch.arange(6), "b": order}
    expected = clip_loss(x, y, temperature=0.2, kind=kind)
    assert float(group_clip_loss(z, labels, temperature=0.2, kind=kind)) == pytest.approx(
        float(expected), abs=1e-9
    )


@pytest.mark.parametrize("positives", ["inside", "outside"])
def test_supcon_equals_the_double_loop(positives):
    z, labels = random_case(3, sizes=(12, 12))
    x, y = z["m0"], labels["m0"]
    expected = []
    for i in np.flatnonzero(y >= 0):
        others = [j for j in np.flatnonzero(y >= 0) if j != i]
        e = {j: math.exp(similarity_of(x[i], x[j], "cosine") / 0.3) for j in others}
        same = [e[j] for j in others if y[j] == y[i]]
        inside = -math.log(sum(same) / sum(e.values()))
        outside = -np.mean([math.log(one / sum(e.values())) for one in same])
        expected.append(inside if positives == "inside" else outside)
    found = supcon_loss(
        torch.as_tensor(x), torch.as_tensor(y), temperature=0.3, positives=positives
    )
    assert float(found) == pytest.approx(np.mean(expected), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("positives", ["inside", "outside"])
def test_gradcheck(kind, positives):
    z, labels = random_case(5, sizes=(5, 4, 3))
    assert min((v >= 0).sum() for v in labels.values()) > 0
    inputs = [torch.tensor(v, requires_grad=True) for v in z.values()]
    tau = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)

    def loss(tau, *embeddings):
        return group_clip_loss(
            dict(zip(z, embeddings, strict=True)),
            tensors(labels),
            temperature=tau,
            kind=kind,
            positives=positives,
        )

    assert torch.autograd.gradcheck(loss, (tau, *inputs))


def test_unlabeled_cells_change_nothing():
    z, labels = random_case(7, sizes=(8, 9))
    labels = {m: np.abs(v) for m, v in labels.items()}
    with_more = {m: np.concatenate([v, np.full((4, v.shape[1]), 3.0)]) for m, v in z.items()}
    unlabeled = {m: np.concatenate([v, np.full(4, -1)]) for m, v in labels.items()}
    before = group_clip_loss(tensors(z), tensors(labels))
    assert float(group_clip_loss(tensors(with_more), tensors(unlabeled))) == pytest.approx(
        float(before), abs=1e-12
    )


def test_no_positive_anywhere_is_zero_with_a_graph():
    z = {m: torch.randn(3, 2, requires_grad=True) for m in "ab"}
    loss = group_clip_loss(z, {"a": torch.zeros(3).long(), "b": torch.ones(3).long()})
    loss.backward()
    assert float(loss) == 0
    assert torch.equal(z["a"].grad, torch.zeros(3, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_no_nan(dtype):
    z = {m: (torch.randn(64, 8) * 100).to(dtype).requires_grad_() for m in "ab"}
    labels = {m: torch.randint(-1, 4, (64,)) for m in "ab"}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = group_clip_loss(z, labels, temperature=0.01, kind="dot")
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(v.grad).all() for v in z.values())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"temperature": 0.0}, "temperature must be a number above 0"),
        ({"positives": "both"}, "positives must be 'inside' or 'outside'; found 'both'"),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        GroupCLIP(**kwargs)


@pytest.mark.parametrize("option", [{"kind": "cosin"}, {"positives": "both"}])
def test_unknown_options_of_the_function(option):
    x, y = torch.ones(1, 1), torch.zeros(1).long()
    with pytest.raises(ValueError, match="Expected one of"):
        group_clip_anchors(x, x, y, y, **option)


@pytest.mark.parametrize("positives", ["inside", "outside"])
def test_blocks_of_anchors_are_the_whole(positives, monkeypatch):
    """Values and gradients of all tensors, with a block size that does not divide the anchors."""
    z, labels = random_case(1, sizes=(11, 11))
    found = []
    for rows in (11, 3):
        monkeypatch.setattr("scgroove.losses.similarities.BLOCK_VALUES", 11 * rows)
        x, y = (torch.tensor(v, requires_grad=True) for v in z.values())
        tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        losses, _ = group_clip_anchors(
            x, y, *tensors(labels).values(), temperature=tau, positives=positives
        )
        losses.square().sum().backward()
        found.append([losses, x.grad, y.grad, tau.grad])
    for whole, blocks in zip(*found, strict=True):
        torch.testing.assert_close(blocks, whole, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_memory_grows_with_the_cells_and_not_with_their_product():
    """8,192 cells a side: all similarities and masks would take a gigabyte."""
    script = """
import resource, torch
from scgroove.losses import group_clip_loss
torch.set_num_threads(1)
labels = {m: torch.arange(8192) % 64 for m in "ab"}
z = {m: torch.randn(8192, 16, requires_grad=True) for m in "ab"}
small = {m: v[:256].detach().requires_grad_() for m, v in z.items()}
group_clip_loss(small, {m: v[:256] for m, v in labels.items()}).backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
group_clip_loss(z, labels).backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    out = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=300
    )
    assert float(out.stdout) < 400  # megabytes
