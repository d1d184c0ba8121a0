"""The speaker encoder of Resemblyzer in PyTorch. For its weights: pip install --no-deps Resemblyzer"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn


class VoiceEncoder(nn.Module):
    """Embed utterances: mel spectrograms [B, L, 40] -> unit vectors [B, 256]."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(40, 256, num_layers=3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels):
        _, (hidden, _) = self.lstm(mels)
        raw = torch.relu(self.linear(hidden[-1]))
        return raw / raw.norm(dim=1, keepdim=True)


def pretrained():
    """Return the model with the weights of the package; two values of its loss are left out."""
    package = find_spec("resemblyzer")
    if package is None:
        raise ModuleNotFoundError("no package resemblyzer: pip install --no-deps Resemblyzer")
    folder = Path(package.submodule_search_locations[0])
    state = torch.load(folder / "pretrained.pt", map_location="cpu", weights_only=True)["model_state"]
    model = VoiceEncoder()
    model.load_state_dict({name: values for name, values in state.items() if not name.startswith("similarity")})
    return model
