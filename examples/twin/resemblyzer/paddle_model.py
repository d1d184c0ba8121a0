"""The speaker encoder of Resemblyzer in PaddlePaddle."""

from paddle import nn


class VoiceEncoder(nn.Layer):
    """Embed utterances: mel spectrograms [B, L, 40] -> unit vectors [B, 256]."""

    def __init__(self):
        super().__init__()
        self.frames = nn.LSTM(40, 256, num_layers=3)
        self.project = nn.Linear(256, 256)
        self.relu = nn.ReLU()

    def forward(self, mels):
        _, (hidden, _) = self.frames(mels)
        return nn.functional.normalize(self.relu(self.project(hidden[-1])), axis=1)


NAMES = {"lstm": "frames", "linear": "project"}


def from_torch(arrays):
    """Return the state dict of PyTorch under the names of this model; the weight of Linear is transposed."""
    found = {}
    for name, array in arrays.items():
        module, _, role = name.partition(".")
        found[f"{NAMES[module]}.{role}"] = array.T if name == "linear.weight" else array
    return found
