"""Encoder families by the `kind` of the spec."""

from backends.paddle.encoders.bag import BagEncoder
from backends.paddle.encoders.recurrent import RecurrentEncoder
from backends.paddle.encoders.textcnn import TextCNNEncoder

ENCODERS = {"recurrent": RecurrentEncoder, "textcnn": TextCNNEncoder, "none": BagEncoder}
