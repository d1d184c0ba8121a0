"""The part of the specification that says how texts become ids."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.schema import Share, Spec


class Text(Spec):
    """From a string to ids. Padding is on the right and, by the lengths rule, never seen: it needs no field."""

    tokenizer: Literal["whitespace", "words", "jieba", "characters"] = "words"
    """`whitespace`: the textbook's (lower-case, `<br />` to a space, split). `words`: English words, `!` and `?`.
    `jieba`: Chinese segmentation. `characters`: of scripts without spaces every character, of others whole words."""
    jieba_hmm: bool = True
    """Whether jieba also makes words that its dictionary lacks, by a hidden Markov model. Without it `rjieba`, where
    that package is installed, gives the same segments in a tenth of the time."""
    lowercase: bool = True
    vocab_size: int = Field(30000, ge=3)
    """Most entries kept, PAD and UNK included."""
    min_count: int = Field(1, ge=1)
    """Rarer tokens become UNK."""
    max_length: int = Field(256, ge=1)
    """Tokens kept of a text."""
    truncate: Literal["head", "tail", "both"] = "head"
    """The part of a longer text that is kept: its head, its tail, or both ends."""
    head_share: Share = 0.25
    """With `both`: the share of `max_length` taken from the head; the rest comes from the tail."""
