"""Where labels lie by what is known of them."""

import pytest
import torch

from scgroove.module import LabelTower


def tower(present=None):
    torch.manual_seed(0)
    embeddings = torch.randn(4, 3)
    return LabelTower(embeddings, torch.ones(2, 4) if present is None else present, 5).eval()


def test_loss_by_hand():
    net = tower(torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1]]))
    z = torch.nn.functional.normalize(torch.randn(3, 5), dim=1)
    codes, weights = torch.tensor([0, 3, -1]), torch.tensor([0.5, 1.0, 1.0])
    t = net(net.embeddings)
    torch.testing.assert_close(t.norm(dim=1), torch.ones(4))
    logits = z @ t.T / 0.2
    among = logits[:, [0, 1, 3]].logsumexp(1)
    expected = (0.5 * (among[0] - logits[0, 0]) + (among[1] - logits[1, 3])) / 1.5
    found = net.loss({0: z}, {0: codes}, {0: weights}, 0.2)
    torch.testing.assert_close(found, expected)
    both = net.loss({0: z, 1: z}, {0: codes, 1: codes}, None, 0.2)
    second = net.loss({1: z}, {1: codes}, None, 0.2)
    torch.testing.assert_close(both, (net.loss({0: z}, {0: codes}, None, 0.2) + second) / 2)


def test_no_label_is_zero_with_a_graph():
    net = tower()
    loss = net.loss({0: torch.randn(2, 5)}, {0: torch.tensor([-1, -1])}, None, 0.1)
    assert float(loss.detach()) == 0
    loss.backward()


def test_it_learns_by_embedding_and_places_the_unseen():
    """Labels on a line: one in the middle that was never seen lies between its neighbours."""
    torch.manual_seed(1)
    angle = torch.linspace(0, 1.5, 9)
    place = torch.stack([angle.cos(), angle.sin(), *[torch.zeros(9)] * 3], dim=1)
    seen = torch.ones(2, 9)
    seen[:, 4] = 0
    net = LabelTower(angle[:, None], seen, 5)
    step = torch.optim.Adam(net.parameters(), lr=0.01)
    codes = torch.tensor([i for i in range(9) if i != 4])
    for _ in range(400):
        step.zero_grad()
        net.loss({0: place[codes]}, {0: codes}, None, 0.1).backward()
        step.step()
    net.eval()
    with torch.no_grad():
        similar = net(angle[4:5, None]) @ net(net.embeddings).T
    assert similar[0, [3, 5]].min() > similar[0, [0, 8]].max()


def test_noise_is_of_training_only():
    net = tower()
    assert torch.equal(net(net.embeddings), net(net.embeddings))
    net.train()
    assert not torch.equal(net(net.embeddings), net(net.embeddings))


def test_a_flat_embedding_is_no_division_by_zero():
    net = LabelTower(torch.ones(3, 2), torch.ones(1, 3), 4)
    assert torch.isfinite(net(net.embeddings)).all()


@pytest.mark.parametrize("modality", [0, 1])
def test_labels_that_a_modality_lacks_are_no_candidates(modality):
    net = tower(torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1]]))
    z = torch.nn.functional.normalize(torch.randn(6, 5), dim=1)
    loss = net.loss({modality: z}, {modality: torch.tensor([0, 0, 1, 1, 3, 3])}, None, 0.1)
    without = LabelTower(net.embeddings.clone(), torch.ones(1, 4), 5).eval()
    without.load_state_dict({**net.state_dict(), "present": torch.ones(1, 4, dtype=torch.bool)})
    everyone = without.loss({0: z}, {0: torch.tensor([0, 0, 1, 1, 3, 3])}, None, 0.1)
    assert (float(loss) < float(everyone)) == (modality == 0)
    assert (float(loss) == pytest.approx(float(everyone))) == (modality == 1)
