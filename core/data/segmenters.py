"""Packages that divide Chinese text into words: `jieba`, and `rjieba`, which is faster."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from core.data.tokenizer_settings import TokenizerSettings
from core.errors import UserError

if TYPE_CHECKING:
    from core.spec.text import Text


def segmenter(spec: Text | TokenizerSettings) -> str:
    """Return the segmentation package and its version for the run record, "" for a tokenizer of our own.

    `rjieba` is used only where its output equals that of `jieba`: without the hidden Markov model.
    """
    if spec.tokenizer != "jieba":
        return ""
    from importlib.metadata import version

    name = _package(spec.jieba_hmm)
    return f"{name} {version(name)}"


def _package(hmm: bool) -> str:
    """Return the name of the package. Raises UserError if none is installed."""
    names = ("jieba",) if hmm else ("rjieba", "jieba")
    for name in names:
        if importlib.util.find_spec(name) is not None:
            return name
    raise UserError(
        "the jieba tokenizer requires the package jieba: pip install jieba, or use `text.tokenizer` characters"
    )


def jieba_cut(hmm: bool) -> Callable[[str], Iterable[str]]:
    """Return the function that divides a text into segments, white space included.

    Raises UserError if jieba is not installed.
    """
    return _rust_cut() if _package(hmm) == "rjieba" else _python_cut(hmm)


def _python_cut(hmm: bool) -> Callable[[str], Iterable[str]]:
    import logging
    import warnings

    with warnings.catch_warnings():
        # jieba's sources contain invalid escapes, about which newer Python versions warn on compilation.
        warnings.simplefilter("ignore")
        import jieba
    jieba.setLogLevel(logging.ERROR)
    return lambda text: jieba.cut(text, cut_all=False, HMM=hmm)


def _rust_cut() -> Callable[[str], Iterable[str]]:
    import rjieba

    return lambda text: rjieba.cut(text, False)
