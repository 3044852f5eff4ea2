"""Encoders, decoders and the objective, against SciPy and against the equations written out."""

import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from scgroove.losses import BackTranslation, GroupCLIP, Reconstruction, ScreenInfo, group_clip_loss
from scgroove.module import Architecture, Decoder, Encoder, GROOVEModule
from scgroove.module.encoders import InputTransform

INFO = ScreenInfo(["x", "y", "z"], torch.ones(2, 3))


def terms(reconstruction=1.0, groupclip=1.0, backtranslation=1.0):
    return [
        Reconstruction(reconstruction),
        GroupCLIP(groupclip, temperature=0.3),
        BackTranslation(backtranslation),
    ]


def module(n_batch=1, likelihood="nb", objective=None, **options):
    architecture = Architecture(3, **{"encoder": "mlp", "hidden": (8,), "dropout": 0.0, **options})
    likelihoods, shares = (
        {"a": "normal", "b": likelihood},
        {"a": [1.0], "b": [1 / n_batch] * n_batch},
    )
    objective = terms() if objective is None else objective
    return GROOVEModule({"a": 5, "b": 4}, likelihoods, shares, objective, INFO, architecture)


def batch(n=12, seed=0, n_batch=1):
    g = torch.Generator().manual_seed(seed)
    return {
        "a": {
            "X": torch.randn(n, 5, generator=g),
            "batch": torch.zeros(n, 1),
            "labels": torch.arange(n)[:, None] % 3,
        },
        "b": {
            "X": torch.poisson(torch.full((n + 2, 4), 5.0), generator=g),
            "batch": torch.arange(n + 2)[:, None] % n_batch,
            "labels": torch.arange(n + 2)[:, None] % 3,
        },
    }


def test_input_of_counts():
    transform = InputTransform(3, counts=True)
    transform.median_library.fill_(6.0)
    transform.center.copy_(torch.tensor([0.1, 0.2, 0.3]))
    transform.scale.copy_(torch.tensor([1.0, 2.0, 4.0]))
    x = np.array([[1.0, 2.0, 0.0], [6.0, 0.0, 6.0]])
    by_hand = (np.log1p(x * 6 / x.sum(1, keepdims=True)) - [0.1, 0.2, 0.3]) / [1, 2, 4]
    np.testing.assert_allclose(
        transform(torch.as_tensor(x, dtype=torch.float)).numpy(), by_hand, rtol=1e-5
    )


def test_extreme_inputs_are_clipped():
    assert InputTransform(1, counts=False)(torch.tensor([[1e6]])).item() == 10.0


@pytest.mark.parametrize(
    "likelihood", ["normal", "nb", "poisson", "nb_panel", "poisson_panel", "bernoulli"]
)
def test_log_probabilities_agree_with_scipy(likelihood):
    torch.manual_seed(0)
    decoder = Decoder(2, 4, likelihood=likelihood, hidden=(), dropout=0.0, n_batch=1)
    decoder.location.copy_(torch.randn(4) * 0.3)
    decoder.scale.copy_(torch.rand(4) + 0.5)
    decoder.log_dispersion.data.copy_(torch.randn(4) * 0.3)
    z, library = torch.randn(6, 2), torch.full((6, 1), 20.0)
    p = decoder(z, torch.ones(6, 1), library)
    h, location = (
        decoder.net(z).detach().numpy().astype(float),
        decoder.location.numpy().astype(float),
    )
    dispersion = decoder.log_dispersion.detach().numpy().astype(float)
    x = (
        np.random.default_rng(0)
        .integers(0, 2 if likelihood == "bernoulli" else 9, (6, 4))
        .astype(float)
    )
    share = np.exp(location + h) / np.exp(location + h).sum(1, keepdims=True)
    theta = np.exp(dispersion)
    expected = {
        "normal": lambda: stats.norm(
            location + decoder.scale.numpy() * h, decoder.scale.numpy() * theta
        ).logpdf(x),
        "nb": lambda: stats.nbinom(theta, theta / (theta + 20 * share)).logpmf(x),
        "poisson": lambda: stats.poisson(20 * share).logpmf(x),
        "nb_panel": lambda: stats.nbinom(theta, theta / (theta + np.exp(location + h))).logpmf(x),
        "poisson_panel": lambda: stats.poisson(np.exp(location + h)).logpmf(x),
        "bernoulli": lambda: stats.bernoulli(1 / (1 + np.exp(-location - h))).logpmf(x),
    }[likelihood]()
    found = p.log_prob(torch.as_tensor(x, dtype=torch.float)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "likelihood", ["normal", "nb", "poisson", "nb_panel", "poisson_panel", "bernoulli"]
)
def test_a_module_can_be_sent_to_another_process(likelihood):
    sent = module(likelihood=likelihood).eval()
    got = pickle.loads(pickle.dumps(sent))
    torch.testing.assert_close(got.state_dict(), sent.state_dict())
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    p, q = (one.decoders[1](z, torch.zeros(6, 1), torch.ones(6, 1)) for one in (got, sent))
    torch.testing.assert_close(p.mean, q.mean)


def test_constant_feature_does_not_run_away():
    decoder = Decoder(2, 1, likelihood="normal", hidden=(), dropout=0.0, n_batch=1)
    decoder.log_dispersion.data.fill_(-50.0)
    p = decoder(torch.zeros(1, 2), torch.ones(1, 1), torch.ones(1, 1))
    assert p.stddev.item() == pytest.approx(np.exp(-3.0))


def encoder(origin=None, **kwargs):
    options = {
        "kind": "linear",
        "hidden": (99,),
        "dropout": 0.0,
        "n_batch": 0,
        "counts": False,
        **kwargs,
    }
    return Encoder(5, 3, origin=origin, **options)


def test_linear_encoder_is_linear():
    linear = encoder()
    assert sum(p.numel() for p in linear.parameters()) == 5 * 3
    x, y, b = torch.randn(4, 5), torch.randn(4, 5), torch.zeros(4, 0)
    torch.testing.assert_close(linear(x + y, b), linear(x, b) + linear(y, b))


def test_latents_are_centered_and_seen_from_the_shared_origin():
    origin = torch.nn.Parameter(torch.tensor([0.0, 0.0, 2.0]))
    placed = encoder(origin)
    placed.offset.copy_(torch.tensor([1.0, 1.0, 1.0]))
    z = placed.place(torch.tensor([[1.0, 1.0, 1.0], [3.0, 1.0, 1.0]]))
    np.testing.assert_allclose(z.detach(), [[0, 0, 1], [0.5**0.5, 0, 0.5**0.5]], atol=1e-6)


def test_offset_follows_the_labeled_cells_in_training_only():
    net, tensors = module(encoder="linear"), batch()
    tensors["a"]["labels"][6:] = -1
    raw = net.encoders[0].raw(tensors["a"]["X"], torch.ones(12, 1)).detach()
    net.eval().inference(tensors)
    assert (net.encoders[0].offset == 0).all()
    net.train().inference(tensors)
    torch.testing.assert_close(net.encoders[0].offset, 0.1 * raw[:6].mean(dim=0))


def test_batch_reaches_the_encoder_only_when_asked_for():
    tensors = batch(n_batch=2)
    flipped = {**tensors, "b": {**tensors["b"], "batch": 1 - tensors["b"]["batch"]}}
    for encode, same in ((False, True), (True, False)):
        torch.manual_seed(0)
        net = module(n_batch=2, encode_batch=encode).eval()
        z, other = (net.inference(t)["z"]["b"] for t in (tensors, flipped))
        assert torch.allclose(z, other) == same


def test_objective_is_the_three_equations():
    torch.manual_seed(1)
    net, tensors = module(objective=terms(2.0, 3.0, 5.0)).eval(), batch()
    out = net(tensors, loss_kwargs={})[2]
    a, b = tensors["a"]["X"], tensors["b"]["X"]
    one = {m: torch.ones(len(t["X"]), 1) for m, t in tensors.items()}
    library = {m: t["X"].sum(1, keepdim=True) for m, t in tensors.items()}
    (ea, eb), (da, db) = net.encoders, net.decoders
    za, zb = ea(a, one["a"]), eb(b, one["b"])
    rec = (
        -da(za, one["a"], library["a"]).log_prob(a).mean()
        - db(zb, one["b"], library["b"]).log_prob(b).mean()
    )
    median = eb.transform.median_library
    pseudo_b = db(za, one["a"], median.expand(len(a), 1)).mean.detach()
    pseudo_a = da(zb, one["b"], library["b"]).mean.detach()
    back = -da(eb(pseudo_b, one["a"]), one["a"], library["a"]).log_prob(a).mean()
    back = back - db(ea(pseudo_a, one["b"]), one["b"], library["b"]).log_prob(b).mean()
    clip = group_clip_loss(
        {"a": za, "b": zb}, {m: t["labels"].ravel() for m, t in tensors.items()}, temperature=0.3
    )
    assert out.loss.item() == pytest.approx((2 * rec + 3 * clip + 5 * back).item(), rel=1e-5)
    assert out.extra_metrics["backtranslation"].item() == pytest.approx(back.item(), rel=1e-5)


@pytest.mark.parametrize("kept", ["reconstruction", "groupclip", "backtranslation"])
def test_weight_zero_leaves_no_gradient(kept):
    net = module()
    weights = {t: float(t == kept) for t in ("reconstruction", "groupclip", "backtranslation")}
    out = net(batch(), loss_kwargs={"weights": weights})[2]
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert out.extra_metrics["backtranslation"].isnan() == (kept != "backtranslation")
    touched = [
        net.encoders[0].net[0].weight.grad is not None,
        net.decoders[0].net[0].weight.grad is not None,
    ]
    assert touched == ([True, False] if kept == "groupclip" else [True, True])


def test_back_translation_generates_in_evaluation_mode():
    net = module(dropout=0.5).train()
    seen = []
    (dropout,) = (layer for layer in net.encoders[1].net if isinstance(layer, torch.nn.Dropout))
    hook = dropout.register_forward_hook(lambda m, i, o: seen.append(m.training))
    net(batch(), loss_kwargs={})
    hook.remove()
    assert seen == [True, False, True]  # reconstruction, generation, back-translation
    assert all(part.training for part in net.modules())


def test_modality_without_cells_in_a_batch():
    tensors = batch()
    out = module()({"a": tensors["a"]}, loss_kwargs={})[2]
    assert torch.isfinite(out.loss)
    assert out.extra_metrics["reconstruction_b"].isnan()
    assert out.extra_metrics["label_accuracy"].isnan()


def test_label_accuracy_by_hand():
    net = module()
    z = {
        "a": torch.tensor([[1.0, 0, 0], [0, 1, 0]]),
        "b": torch.tensor([[1.0, 0.1, 0], [0.1, 1, 0], [0, 0, 1]]),
    }
    labels = {"a": torch.tensor([0, 1]), "b": torch.tensor([0, 0, -1])}
    # a -> b: the first is right, the second finds a 0; b -> a: the first is right, the second finds a 1
    assert net.label_accuracy(z, labels).item() == pytest.approx(0.5)
