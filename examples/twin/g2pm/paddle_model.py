"""The polyphone tagger of g2pM in PaddlePaddle."""

from paddle import nn

CHARACTERS, READINGS = 5398, 876


class Polyphones(nn.Layer):
    """Predict the reading of every character: ids [B, L], lengths [B] -> logits [B, L, 876]."""

    def __init__(self):
        super().__init__()
        self.characters = nn.Embedding(CHARACTERS, 64, padding_idx=0)
        self.context = nn.LSTM(64, 32, direction="bidirect")
        self.hidden = nn.Linear(64, 32)
        self.readings = nn.Linear(32, READINGS)

    def forward(self, ids, lengths):
        states, _ = self.context(self.characters(ids), sequence_length=lengths)
        return self.readings(nn.functional.relu(self.hidden(states)))


NAMES = {
    "embedding": "characters",
    "lstm": "context",
    "logit_layer.0": "hidden",
    "logit_layer.2": "readings",
}


def from_torch(arrays):
    """Return the state dict of PyTorch under the names of this model; weights of Linear are transposed."""
    found = {}
    for name, array in arrays.items():
        module, _, role = name.rpartition(".")
        found[f"{NAMES[module]}.{role}"] = array.T if module.startswith("logit") and role == "weight" else array
    return found
