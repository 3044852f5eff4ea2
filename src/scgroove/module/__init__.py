"""The networks of GROOVE."""

from ._decoders import LIKELIHOODS, Decoder
from .encoders import Encoder
from .groove import Architecture, GROOVEModule

__all__ = ["LIKELIHOODS", "Architecture", "Decoder", "Encoder", "GROOVEModule"]
