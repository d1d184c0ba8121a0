"""The spelling-to-sound model of g2p-en in PaddlePaddle."""

from paddle import nn

LETTERS, PHONEMES, SIZE = 29, 74, 256


class Pronunciation(nn.Layer):
    """Predict the next phoneme: letters [B, L], lengths [B], phonemes [B, M] -> logits [B, M, 74]."""

    def __init__(self):
        super().__init__()
        self.letters = nn.Embedding(LETTERS, SIZE)
        self.phonemes = nn.Embedding(PHONEMES, SIZE)
        self.reader = nn.GRU(SIZE, SIZE)
        self.speaker = nn.GRU(SIZE, SIZE)
        self.scores = nn.Linear(SIZE, PHONEMES)

    def forward(self, letters, lengths, phonemes):
        _, last = self.reader(self.letters(letters), sequence_length=lengths)
        states, _ = self.speaker(self.phonemes(phonemes), last)
        return self.scores(states)


NAMES = {"enc_emb": "letters", "dec_emb": "phonemes", "encoder": "reader", "decoder": "speaker", "fc": "scores"}


def from_torch(arrays):
    """Return the state dict of PyTorch under the names of this model; the weight of Linear is transposed."""
    found = {}
    for name, array in arrays.items():
        module, _, role = name.partition(".")
        found[f"{NAMES[module]}.{role}"] = array.T if name == "fc.weight" else array
    return found
