"""Measurements of convolutions."""

from __future__ import annotations

from backends.torch.framework import torch
from tools.differences import difference
from tools.differences.layers import SECTION
from tools.differences.small import KILLED, failure, isolated

TEXTCNN = "[torch](../backends/torch/encoders/textcnn.py), [paddle](../backends/paddle/encoders/textcnn.py)"

CASES = """
from backends.paddle.framework import paddle

def outcome(compute):
    try:
        return compute()
    except Exception as error:
        return type(error).__name__

def convolve(width, padding=0, layout="NCL"):
    x = paddle.ones([1, 3, 2] if layout == "NCL" else [1, 2, 3])
    return paddle.nn.Conv1D(3, 4, width, padding=padding, data_format=layout)(x)

def shape(*case):
    return outcome(lambda: str([*convolve(*case).numpy().shape]))

print(">", shape(3))
print(">", shape(4))
print(">", shape(4, 1))
print(">", shape(5, 1))
print(">", shape(6, 1))
print(">", shape(5, "SAME"))
print(">", outcome(lambda: f"{convolve(3).mean(axis=2)[0, 0].item():g}"))
print(">", outcome(lambda: f"{convolve(3).max(axis=2)[0, 0].item():g}"))
print(">", shape(4, 0, "NLC"), flush=True)
print(">", shape(3, 0, "NLC"), flush=True)
"""


@difference(
    SECTION,
    "A convolution kernel longer than its input",
    torch="Raises an error that names both sizes.",
    paddle="On the CPU, depends on the excess. A kernel longer by 1 returns an empty tensor without an error, with"
    " channels first (`NCL`), or ends the process, with channels last (`NLC`). A kernel longer by 2 or more raises an"
    ' error that does not name the cause ("The meta data must be valid").',
    effect="""An input of 2 steps, 4 channels; the shape of the result, or the error:

| kernel, padding | PyTorch | Paddle, `NCL` | Paddle, `NLC` |
|---|---|---|---|
| 3, 0 | {torch_3} | {paddle_3} | {last_3} |
| 4, 0 | {torch_4} | {paddle_4} | {last_4} |
| 4, 1 | {torch_padded_4} | {paddle_padded_4} | |
| 5, 1 | {torch_padded_5} | {paddle_padded_5} | |
| 6, 1 | {torch_padded_6} | {paddle_padded_6} | |
| 5, `same` | {torch_same} | {paddle_same} | |

Pooling of Paddle's empty result over time: `mean` {mean}, `max` {max}.""",
    ours="Every text is padded by k - 1 zeros, so that a window starts at every token. A text shorter than the kernel"
    f" has one window: `TextCNNEncoder` ({TEXTCNN}), `Windows` in [core/batch.py](../core/batch.py).",
    size="kernel 3 on 2 steps: {torch_3} against {paddle_3}",
    older="Kernel 3 without padding: {paddle_3} (`NCL`), {last_3} (`NLC`); kernel 4: {paddle_4} and {last_4}. With a"
    " padding of 1, kernel 5: {paddle_padded_5}, kernel 6: {paddle_padded_6}. No case returns an empty tensor.",
    claim=lambda f: (
        f["torch_3"] == f["torch_4"] == f["torch_padded_5"] == f["torch_padded_6"] == "RuntimeError"
        and f["paddle_3"] == f["paddle_padded_5"] == "[1, 4, 0]"
        and f["paddle_4"] == f["paddle_padded_6"] == f["last_4"] == "RuntimeError"
        and f["last_3"] == KILLED
        and f["torch_padded_4"] == f["paddle_padded_4"] == "[1, 4, 1]"
        and f["torch_same"] == f["paddle_same"] == "[1, 4, 2]"
        and f["mean"] == "nan"
    ),
    slow=True,
)
def kernel_past_input():
    """Convolve 2 steps with longer kernels, with and without padding, in both layouts of Paddle."""

    def shape(width: int, padding: int | str = 0) -> str:
        layer = torch.nn.Conv1d(3, 4, width, padding=padding)
        error = failure(layer, torch.ones(1, 3, 2))
        return str([*layer(torch.ones(1, 3, 2)).shape]) if error == "no error" else error

    names = ("paddle_3", "paddle_4", "paddle_padded_4", "paddle_padded_5", "paddle_padded_6", "paddle_same")
    return {
        "torch_3": shape(3),
        "torch_4": shape(4),
        "torch_padded_4": shape(4, 1),
        "torch_padded_5": shape(5, 1),
        "torch_padded_6": shape(6, 1),
        "torch_same": shape(5, "same"),
        **dict(zip((*names, "mean", "max", "last_4", "last_3"), isolated(CASES), strict=True)),
    }
