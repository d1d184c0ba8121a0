"""The voice activity detector of Silero (16 kHz) in PaddlePaddle."""

import paddle
from paddle import nn

BINS = 129


class Detector(nn.Layer):
    """Predict speech in 576 samples: audio [B, 576], state [2, B, 128] -> probability [B, 1], new state."""

    def __init__(self):
        super().__init__()
        self.stft = nn.Conv1D(1, 2 * BINS, 256, stride=128, bias_attr=False)
        self.encoder = nn.Sequential(
            *(nn.Conv1D(BINS, 128, 3, padding=1), nn.ReLU()),
            *(nn.Conv1D(128, 64, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv1D(64, 64, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv1D(64, 128, 3, padding=1), nn.ReLU()),
        )
        self.cell = nn.LSTMCell(128, 128)
        self.decoder = nn.Sequential(nn.Dropout(0.1), nn.ReLU(), nn.Conv1D(128, 1, 1), nn.Sigmoid())

    def forward(self, audio, state):
        padded = nn.functional.pad(audio.unsqueeze(1), [0, 64], mode="reflect", data_format="NCL")
        real, imaginary = self.stft(padded).split(2, axis=1)
        x = self.encoder(paddle.sqrt(real**2 + imaginary**2))
        h, (_, c) = self.cell(x.squeeze(-1), (state[0], state[1]))
        return self.decoder(h.unsqueeze(-1)).squeeze(-1), paddle.stack([h, c])


NAMES = {
    "stft_conv": "stft",
    "conv1": "encoder.0",
    "conv2": "encoder.2",
    "conv3": "encoder.4",
    "conv4": "encoder.6",
    "lstm_cell": "cell",
    "final_conv": "decoder.2",
}


def from_torch(arrays):
    """Return the state dict of PyTorch under the names of this model."""
    return {f"{NAMES[name.partition('.')[0]]}.{name.partition('.')[2]}": array for name, array in arrays.items()}
