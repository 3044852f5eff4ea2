"""Where labels lie, from embeddings of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scgroove.losses import LabelTower, ScreenInfo, TermBatch

NAMES = ("a", "b")


def tower(embeddings=None, present=None, **options):
    torch.manual_seed(0)
    embeddings = torch.randn(4, 3) if embeddings is None else embeddings
    labels = [f"g{i}" for i in range(len(embeddings))]
    term = LabelTower(dict(zip(labels, embeddings.tolist(), strict=True)), **options)
    present = torch.ones(2, len(labels)) if present is None else present
    term.setup(SimpleNamespace(n_latent=5), ScreenInfo(labels, present))
    return term.eval()


def loss(term, z, codes, weights=None):
    """The loss of modalities by their position."""
    networks = SimpleNamespace(modalities=list(NAMES))
    named = [
        None if v is None else {NAMES[i]: one for i, one in v.items()} for v in (z, codes, weights)
    ]
    return term(TermBatch(networks, {}, {}, named[0], {}, named[1], named[1], named[2]))


def directions(n):
    return torch.nn.functional.normalize(torch.randn(n, 5), dim=1)


def test_loss_by_hand():
    term = tower(present=torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1]]))
    z = directions(3)
    codes, weights = torch.tensor([0, 3, -1]), torch.tensor([0.5, 1.0, 1.0])
    t = term.place(term.embeddings)
    torch.testing.assert_close(t.norm(dim=1), torch.ones(4))
    logits = z @ t.T / 0.2
    among = logits[:, [0, 1, 3]].logsumexp(1)
    expected = (0.5 * (among[0] - logits[0, 0]) + (among[1] - logits[1, 3])) / 1.5
    torch.testing.assert_close(loss(term, {0: z}, {0: codes}, {0: weights}), expected)
    both = loss(term, {0: z, 1: z}, {0: codes, 1: codes})
    each = [loss(term, {i: z}, {i: codes}) for i in (0, 1)]
    torch.testing.assert_close(both, sum(each) / 2)


def test_no_label_is_zero_with_a_graph():
    found = loss(tower(), {0: torch.randn(2, 5)}, {0: torch.tensor([-1, -1])})
    assert float(found.detach()) == 0
    found.backward()


def test_it_learns_by_embedding_and_places_the_unseen():
    """Labels on a line: one in the middle that was never seen lies between its neighbors."""
    angle = torch.linspace(0, 1.5, 9)
    place = torch.stack([angle.cos(), angle.sin(), *[torch.zeros(9)] * 3], dim=1)
    seen = torch.ones(2, 9)
    seen[:, 4] = 0
    term = tower(angle[:, None], seen, temperature=0.1).train()
    step = torch.optim.Adam(term.parameters(), lr=0.01)
    codes = torch.tensor([i for i in range(9) if i != 4])
    for _ in range(400):
        step.zero_grad()
        loss(term, {0: place[codes]}, {0: codes}).backward()
        step.step()
    placed = term.predict()
    similar = placed.to_numpy() @ placed.loc["g4"].to_numpy()
    assert similar[[3, 5]].min() > similar[[0, 8]].max()


def test_noise_is_of_training_only():
    term = tower()
    assert torch.equal(term.place(term.embeddings), term.place(term.embeddings))
    term.train()
    assert not torch.equal(term.place(term.embeddings), term.place(term.embeddings))
    np.testing.assert_array_equal(term.predict(), term.predict())
    assert term.training


def test_a_flat_embedding_is_no_division_by_zero():
    term = tower(torch.ones(3, 2))
    assert np.isfinite(term.predict().to_numpy()).all()


@pytest.mark.parametrize("modality", [0, 1])
def test_labels_that_a_modality_lacks_are_no_candidates(modality):
    term = tower(present=torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1]]))
    z, codes = directions(6), torch.tensor([0, 0, 1, 1, 3, 3])
    found = float(loss(term, {modality: z}, {modality: codes}))
    everyone = float(loss(tower(), {0: z}, {0: codes}))
    assert (found < everyone) == (modality == 0)
    assert (found == pytest.approx(everyone)) == (modality == 1)
