"""The networks of GROOVE."""

from ._decoders import LIKELIHOODS, Decoder
from ._encoders import Encoder, EncoderKind, InputTransform
from ._groove import GROOVEModule

__all__ = ["LIKELIHOODS", "Decoder", "Encoder", "EncoderKind", "GROOVEModule", "InputTransform"]
