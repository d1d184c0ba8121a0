"""Encoder families by the `kind` of the spec."""

from backends.torch.encoders.bag import BagEncoder
from backends.torch.encoders.recurrent import RecurrentEncoder
from backends.torch.encoders.textcnn import TextCNNEncoder

ENCODERS = {"recurrent": RecurrentEncoder, "textcnn": TextCNNEncoder, "none": BagEncoder}
