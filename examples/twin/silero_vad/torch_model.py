"""The voice activity detector of Silero (16 kHz) in PyTorch. For its weights: pip install --no-deps silero-vad"""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import pad

BINS = 129


class Detector(nn.Module):
    """Predict speech in 576 samples: audio [B, 576], state [2, B, 128] -> probability [B, 1], new state."""

    def __init__(self):
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * BINS, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(BINS, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.dropout = nn.Dropout(0.1)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, audio, state):
        waves = self.stft_conv(pad(audio[:, None], (0, 64), mode="reflect"))
        x = (waves[:, :BINS] ** 2 + waves[:, BINS:] ** 2).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = torch.relu(layer(x))
        h, c = self.lstm_cell(x.squeeze(-1), (state[0], state[1]))
        scores = self.final_conv(torch.relu(self.dropout(h[..., None])))
        return torch.sigmoid(scores).squeeze(-1), torch.stack([h, c])


NAMES = {
    "stft_conv.weight": "stft.forward_basis_buffer",
    **{f"conv{n + 1}.{role}": f"encoder.{n}.reparam_conv.{role}" for n in range(4) for role in ("weight", "bias")},
    **{f"lstm_cell.{role}": f"decoder.rnn.{role}" for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    **{f"final_conv.{role}": f"decoder.decoder.2.{role}" for role in ("weight", "bias")},
}


def pretrained():
    """Return the model with the weights of the package's compiled module for 16 kHz."""
    package = find_spec("silero_vad")
    if package is None:
        raise ModuleNotFoundError("no package silero_vad: pip install --no-deps silero-vad")
    folder = Path(package.submodule_search_locations[0])
    state = torch.jit.load(folder / "data" / "silero_vad.jit", map_location="cpu")._model.state_dict()
    model = Detector()
    model.load_state_dict({name: state[other] for name, other in NAMES.items()})
    return model
