"""The spelling-to-sound model of g2p-en in PyTorch. For its weights: pip install --no-deps g2p-en"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

LETTERS, PHONEMES, SIZE = 29, 74, 256
ROLES = {"w_ih": "weight_ih_l0", "w_hh": "weight_hh_l0", "b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}


class Pronunciation(nn.Module):
    """Predict the next phoneme: letters [B, L], lengths [B], phonemes [B, M] -> logits [B, M, 74]."""

    def __init__(self):
        super().__init__()
        self.enc_emb = nn.Embedding(LETTERS, SIZE)
        self.encoder = nn.GRU(SIZE, SIZE, batch_first=True)
        self.dec_emb = nn.Embedding(PHONEMES, SIZE)
        self.decoder = nn.GRU(SIZE, SIZE, batch_first=True)
        self.fc = nn.Linear(SIZE, PHONEMES)

    def forward(self, letters, lengths, phonemes):
        packed = pack_padded_sequence(self.enc_emb(letters), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, last = self.encoder(packed)
        states, _ = self.decoder(self.dec_emb(phonemes), last)
        return self.fc(states)


def pretrained():
    """Return the model with the weights of the package, which are arrays by short names."""
    package = find_spec("g2p_en")
    if package is None:
        raise ModuleNotFoundError("no package g2p_en: pip install --no-deps g2p-en")
    folder = Path(package.submodule_search_locations[0])
    arrays = np.load(folder / "checkpoint20.npz")
    state = {"fc.weight": arrays["fc_w"], "fc.bias": arrays["fc_b"]}
    for short, layer in (("enc", "encoder"), ("dec", "decoder")):
        state[f"{short}_emb.weight"] = arrays[f"{short}_emb"]
        state |= {f"{layer}.{role}": arrays[f"{short}_{name}"] for name, role in ROLES.items()}
    model = Pronunciation()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return model
