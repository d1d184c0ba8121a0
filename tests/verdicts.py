"""Verdicts made by hand, for the tests of what shows them."""

from __future__ import annotations

from core.twin.recording import Module
from core.twin.verdict import Cause, Finding, Pairing, Row, Verdict

NORM = {"shape": (8,), "epsilon": 1e-5, "weight": True, "bias": True}
TREES = {
    "torch": (
        Module("", "Model", children=("words", "block", "out")),
        Module("words", "Embedding", "embedding", {"rows": 50, "dim": 8, "padding_id": None}),
        Module("block", "Block", children=("block.norm",)),
        Module("block.norm", "LayerNorm", "layer_norm", NORM),
        Module("out", "Linear", "linear", {"inputs": 8, "outputs": 2, "bias": True}),
    ),
    "paddle": (
        Module("", "Twin", children=("embed", "norm", "act", "fc")),
        Module("embed", "Embedding", "embedding", {"rows": 50, "dim": 8, "padding_id": None}),
        Module("norm", "LayerNorm", "layer_norm", {**NORM, "epsilon": 1e-12}),
        Module("act", "GELU", "activation", {"function": "gelu", "approximate": "none"}),
        Module("fc", "Linear", "linear", {"inputs": 8, "outputs": 2, "bias": True}, note="weight norm <here>"),
    ),
}
CAUSE = Cause(
    "epsilon 1e-05 in PyTorch, 1e-12 in PaddlePaddle; with 1e-05 it agrees",
    {"torch": "block.norm", "paddle": "norm"},
    "inside",
    "epsilon",
    True,
    "norm_epsilon",
)
PAIRING = Pairing(
    {"words.weight": "embed.weight", "out.weight": "fc.weight"},
    {"words.weight": "order", "out.weight": "transposed"},
    left={"torch": ("out.bias",), "paddle": ()},
)


def rows(mode: str, beyond: bool) -> tuple[Row, ...]:
    """Return four calls, of which the second and its successors differ if `beyond`."""
    wrong = 3.2e-4 if beyond else 2e-16

    def row(first: str | None, second: str | None, name: str, **figures) -> Row:
        paths = {key: path for key, path in (("torch", first), ("paddle", second)) if path is not None}
        return Row(paths, dict.fromkeys(paths, name), mode, **figures)

    return (
        row("words", "embed", "Embedding", inputs=0.0, outputs=0.0, gradients=wrong),
        row("block.norm", "norm", "LayerNorm", inputs=0.0, outputs=wrong, gradients=1e-16),
        row(None, "act", "GELU", note="a function in PyTorch"),
        row("out", "fc", "Linear", inputs=wrong, outputs=wrong, gradients=0.0),
    )


def verdict(same: bool, **changes) -> Verdict:
    """Return a comparison in both modes that passed, or one whose normalizations differ in epsilon."""
    found = [Finding(0, "", 0.0, 0.0, True, 2)]
    for mode in ("evaluation", "training"):
        first = "block.norm (LayerNorm): outputs differ by 3.2e-04"
        if same:
            found += [Finding(1, mode, 2e-16, 1e-9, True, 4), Finding(2, mode, 1e-16, 1e-9, True, 5)]
        else:
            found += [Finding(1, mode, 3.2e-4, 1e-9, False, 4, first, CAUSE)]
    own = {
        "names": {"torch": "mine_torch.py:Model", "paddle": "mine_paddle.py:Twin"},
        "versions": {"torch": "2.0.1", "paddle": "3.0.0"},
        "dtype": "float64",
        "seed": 7,
        "inputs": {"ids": "int64 [4, 9]"},
        "pairing": PAIRING,
        "findings": tuple(found),
        "rows": rows("evaluation", not same) + rows("training", not same),
        "warnings": ("words: padding_id differs <b>without effect</b>",),
        "seconds": 1.25,
        "modules": TREES,
    }
    return Verdict(**{**own, **changes})
