"""The networks of GROOVE."""

from ._decoders import LIKELIHOODS, Decoder
from ._encoders import Encoder, InputTransform
from ._groove import GROOVEModule

__all__ = ["LIKELIHOODS", "Decoder", "Encoder", "GROOVEModule", "InputTransform"]
