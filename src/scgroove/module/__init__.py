"""The networks of GROOVE."""

from ._decoders import LIKELIHOODS, Decoder
from ._encoders import Encoder, InputTransform
from ._groove import EfficacyMode, GROOVEModule, Independence
from ._tower import LabelTower

__all__ = [
    "LIKELIHOODS",
    "Decoder",
    "EfficacyMode",
    "Encoder",
    "GROOVEModule",
    "Independence",
    "InputTransform",
    "LabelTower",
]
