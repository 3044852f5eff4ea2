"""The networks of GROOVE."""

from ._decoders import LIKELIHOODS, Decoder
from ._encoders import Encoder, EncoderKind, InputTransform
from ._groove import Architecture, GROOVEModule

__all__ = [
    "LIKELIHOODS",
    "Architecture",
    "Decoder",
    "Encoder",
    "EncoderKind",
    "GROOVEModule",
    "InputTransform",
]
