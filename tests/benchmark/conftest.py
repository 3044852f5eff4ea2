"""Learners that cost nothing, and a small grid."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from scgroove.learners import LEARNERS, Learner


class _Counting(Learner):
    """Counts how often it was fitted."""

    fits: ClassVar[list[int]] = []

    def _fit(self, screen, seed):
        type(self).fits.append(seed)
        self.seed = seed


@LEARNERS.register("test_noisy_truth")
@dataclass
class NoisyTruth(_Counting):
    """The true state with noise: a good representation for nothing."""

    name: ClassVar[str] = "test_noisy_truth"
    uses_truth: ClassVar[bool] = True
    noise: float = 0.5

    def _transform(self, mdata):
        rng = np.random.default_rng(self.seed)
        return {
            m: a.obsm["state"] + self.noise * rng.normal(size=a.obsm["state"].shape)
            for m, a in mdata.mod.items()
        }


@LEARNERS.register("test_crash")
@dataclass
class Crash(_Counting):
    """Crashes."""

    name: ClassVar[str] = "test_crash"

    def _transform(self, mdata):
        raise ZeroDivisionError("the learner broke")


@LEARNERS.register("test_nan")
@dataclass
class NotFinite(_Counting):
    """Returns NaN."""

    name: ClassVar[str] = "test_nan"

    def _transform(self, mdata):
        return {m: np.full((a.n_obs, 2), np.nan) for m, a in mdata.mod.items()}


@LEARNERS.register("test_shape")
@dataclass
class WrongShape(_Counting):
    """Returns a row too few."""

    name: ClassVar[str] = "test_shape"

    def _transform(self, mdata):
        return {m: np.zeros((a.n_obs - 1, 2)) for m, a in mdata.mod.items()}


@LEARNERS.register("test_apart")
@dataclass
class Apart(_Counting):
    """Every modality in a space of its own."""

    name: ClassVar[str] = "test_apart"
    aligned: ClassVar[bool] = False

    def _transform(self, mdata):
        return {m: np.asarray(a.X)[:, : 3 + i] for i, (m, a) in enumerate(mdata.mod.items())}


@LEARNERS.register("test_spy")
@dataclass
class Spy(_Counting):
    """Looks for the truth, and says what it found."""

    name: ClassVar[str] = "test_spy"
    seen: ClassVar[dict] = {}

    def _transform(self, mdata):
        for m, a in mdata.mod.items():
            type(self).seen[m] = {
                "obs": set(a.obs),
                "obsm": set(a.obsm),
                "uns": set(a.uns),
                "names": set(a.obs_names),
            }
        type(self).seen["uns"] = set(mdata.uns)
        return {m: np.asarray(a.X)[:, :3] for m, a in mdata.mod.items()}


@LEARNERS.register("test_destroyer")
@dataclass
class Destroyer(_Counting):
    """Overwrites what it was handed."""

    name: ClassVar[str] = "test_destroyer"

    def _transform(self, mdata):
        for a in mdata.mod.values():
            a.X[:] = 0.0
            a.obs["label"] = "gone"
        return {
            m: np.ones((a.n_obs, 2)) * np.arange(a.n_obs)[:, None] for m, a in mdata.mod.items()
        }


@LEARNERS.register("test_exit")
@dataclass
class Exit(_Counting):
    """Wants to end the whole program."""

    name: ClassVar[str] = "test_exit"

    def _transform(self, mdata):
        raise SystemExit("enough")


for _cls in (NoisyTruth, Crash, NotFinite, WrongShape, Apart, Spy):
    _cls.fits = []


@pytest.fixture
def fits():
    """How often each learner was fitted."""
    classes = (NoisyTruth, Crash, NotFinite, WrongShape, Apart, Spy)
    for cls in classes:
        cls.fits.clear()
    return lambda: {cls.name: len(cls.fits) for cls in classes}


SMALL = {
    "scenario": "reference",
    "name": "small",
    "parameters": {"n_labels": 4, "n_cells_per_label": 8, "n_features": [12, 9]},
}


OF_COUPLINGS = (
    "barycentric_foscttm_within_label",
    "label_mass",
    "trace_over_chance",
    "trace_within_label",
)


@pytest.fixture
def small():
    """A grid of 2 seeds x 1 learner x (alone + 2 aligners): 6 cells."""
    return {
        "data": [SMALL],
        "learners": ["test_noisy_truth"],
        "aligners": ["eot", "uniform"],
        "seeds": 2,
        "metrics": ["foscttm_within_label", "label_transfer", *OF_COUPLINGS],
    }
