"""The polyphone tagger of g2pM in PyTorch. For its weights: pip install g2pM"""

import pickle
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CHARACTERS, READINGS = 5398, 876


class Polyphones(nn.Module):
    """Predict the reading of every character: ids [B, L], lengths [B] -> logits [B, L, 876]."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, 64, padding_idx=0)
        self.lstm = nn.LSTM(64, 32, batch_first=True, bidirectional=True)
        self.logit_layer = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, READINGS))

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(self.embedding(ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=ids.shape[1])
        return self.logit_layer(states)


def pretrained():
    """Return the model with the weights of the package, which are arrays under the names of this module."""
    package = find_spec("g2pM")
    if package is None:
        raise ModuleNotFoundError("no package g2pM: pip install g2pM")
    folder = Path(package.submodule_search_locations[0])
    arrays = pickle.loads((folder / "np_ckpt.pkl").read_bytes())
    model = Polyphones()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return model
