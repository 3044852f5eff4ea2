"""Transport inside labels against POT, by hand, and at its edges."""

import numpy as np
import ot
import pytest
import torch

from scgroove.losses import batched_plans, cross_correlation, joint_concentration, label_refinement


def test_plans_are_those_of_an_independent_library():
    rng = np.random.default_rng(0)
    shapes = [(5, 5), (3, 6), (6, 2)]
    cost = torch.zeros(3, 6, 6)
    rows, columns = torch.zeros(3, 6, dtype=torch.bool), torch.zeros(3, 6, dtype=torch.bool)
    for i, (n, m) in enumerate(shapes):
        c = rng.uniform(size=(n, m))
        cost[i, :n, :m] = torch.tensor(c / c.mean(), dtype=torch.float32)
        rows[i, :n] = columns[i, :m] = True
    found = batched_plans(cost, rows, columns, 0.1, 1000).double().numpy()
    for i, (n, m) in enumerate(shapes):
        c = cost[i, :n, :m].double().numpy()
        expected = ot.sinkhorn(np.full(n, 1 / n), np.full(m, 1 / m), c, 0.1, numItermax=5000, stopThr=1e-12)
        np.testing.assert_allclose(found[i, :n, :m], expected, atol=1e-5)
        assert found[i].sum() == pytest.approx(1, abs=1e-5)
        assert not found[i, n:].any()
        assert not found[i, :, m:].any()


def screen(seed=0, noise=0.05, n=6, labels=3, k=5):
    """Cells whose partners are known: those of the other modality in another order."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(labels * n, k, generator=g)
    codes = torch.arange(labels).repeat_interleave(n)
    order = torch.cat([i * n + torch.randperm(n, generator=g) for i in range(labels)])
    y = x[order] + noise * torch.randn(labels * n, k, generator=g)
    return {"a": x, "b": y}, {"a": codes, "b": codes.clone()}, order


@pytest.mark.parametrize("centred", [True, False])
def test_cost_by_hand(centred):
    """One label, two cells each: plans of two by two are known in closed form."""
    z = {"a": torch.tensor([[1.0, 0.2], [0.1, 1.0]]), "b": torch.tensor([[0.9, 0.4], [0.3, 0.8]])}
    codes = {m: torch.zeros(2, dtype=torch.long) for m in z}
    a, b = (v - v.mean(0) if centred else v for v in z.values())
    cost = 1 - torch.nn.functional.normalize(a, dim=1) @ torch.nn.functional.normalize(b, dim=1).T
    cost = cost / cost.mean()
    # uniform marginals: p on the diagonal, 1/2 - p off it, odds squared = exp of the crossed difference
    odds = torch.exp((cost[0, 1] + cost[1, 0] - cost[0, 0] - cost[1, 1]) / 0.5 / 2)
    p = 0.5 * odds / (1 + odds)
    expected = p * (cost[0, 0] + cost[1, 1]) + (0.5 - p) * (cost[0, 1] + cost[1, 0])
    found = label_refinement(z, codes, epsilon=0.5, n_iter=500, centred=centred)
    assert float(found) == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("kind", ["cost", "contrast"])
def test_partners_are_pulled_together(kind):
    z, labels, order = screen(noise=0.5)
    y = z["b"].clone().requires_grad_()
    before = torch.cosine_similarity(z["a"][order], y).mean()
    step = torch.optim.SGD([y], lr=0.2)
    losses = []
    for _ in range(30):
        step.zero_grad()
        loss = label_refinement({"a": z["a"], "b": y}, labels, kind=kind, centred=False, epsilon=0.05)
        loss.backward()
        losses.append(float(loss))
        step.step()
    assert losses[-1] < losses[0]
    assert torch.cosine_similarity(z["a"][order], y.detach()).mean() > before


def test_a_shift_of_one_modality_changes_nothing_if_centred():
    z, labels, _ = screen()
    moved = {**z, "b": z["b"] + torch.tensor([3.0, 0, 0, -1, 2])}
    assert float(label_refinement(z, labels)) == pytest.approx(
        float(label_refinement(moved, labels)), abs=1e-4
    )
    assert (
        abs(
            float(label_refinement(z, labels, centred=False) - label_refinement(moved, labels, centred=False))
        )
        > 0.01
    )


def test_order_of_cells_and_absent_cells_change_nothing():
    z, labels, _ = screen()
    permuted = torch.randperm(len(z["a"]), generator=torch.Generator().manual_seed(1))
    shuffled = label_refinement({**z, "a": z["a"][permuted]}, {**labels, "a": labels["a"][permuted]})
    assert float(shuffled) == pytest.approx(float(label_refinement(z, labels)), abs=1e-5)
    # a cell without a label, and a label with one cell, take no part
    more = {m: torch.cat([v, torch.ones(2, 5)]) for m, v in z.items()}
    codes = {
        "a": torch.cat([labels["a"], torch.tensor([-1, 7])]),
        "b": torch.cat([labels["b"], torch.tensor([7, 7])]),
    }
    assert float(label_refinement(more, codes)) == pytest.approx(float(label_refinement(z, labels)), abs=1e-5)


def test_nothing_to_refine_is_zero_with_a_graph():
    z = {m: torch.randn(3, 4, requires_grad=True) for m in "ab"}
    loss = label_refinement(z, {"a": torch.tensor([0, 1, 2]), "b": torch.tensor([3, 4, -1])})
    assert float(loss.detach()) == 0
    loss.backward()
    assert not z["a"].grad.any()


def test_unknown_kind():
    with pytest.raises(ValueError, match="Unknown refinement 'costs'"):
        label_refinement({}, {}, kind="costs")


def test_joint_concentration_by_hand():
    s, p = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0], [-3.0]])
    # squared distances of unit vectors: 2 in s, 4 in p
    assert float(joint_concentration(s, p)) == pytest.approx(np.log((1 + np.exp(-6)) / 2), abs=1e-6)


@pytest.mark.parametrize(
    "p", [torch.ones(8, 3), 1e3 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0))]
)
def test_joint_concentration_is_finite(p):
    s = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    p = p.clone().requires_grad_()
    loss = joint_concentration(s, p)
    loss.backward()
    assert -np.log(8) - 1e-5 <= float(loss) <= 0
    assert torch.isfinite(s.grad).all()
    assert torch.isfinite(p.grad).all()


def test_joint_concentration_falls_as_codes_become_independent():
    g = torch.Generator().manual_seed(0)
    s, other = torch.randn(500, 3, generator=g), torch.randn(500, 3, generator=g)
    assert float(joint_concentration(s, other)) < float(joint_concentration(s, s)) - 0.1


def test_cross_correlation_by_hand():
    g = torch.Generator().manual_seed(0)
    s = torch.randn(1000, 2, generator=g)
    expected = np.square(np.corrcoef(s.T.numpy())).mean()
    assert float(cross_correlation(s, 5 * s + 2)) == pytest.approx(expected, abs=1e-4)
    assert float(cross_correlation(s, torch.randn(1000, 3, generator=g))) < 0.01
