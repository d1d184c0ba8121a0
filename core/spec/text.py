"""The text section of the specification: tokenizer, vocabulary, truncation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.schema import Share, Spec

TokenizerName = Literal["whitespace", "words", "jieba", "characters", "letters"]


class Text(Spec):
    """Encoding of strings as ids.

    Padding needs no field: it is on the right, and results never depend on it.
    """

    tokenizer: TokenizerName = "words"
    """Tokenizer of the texts.

    `whitespace`: the textbook's (lower-case, `<br />` to a space, split). `words`: English words and `signs`. `jieba`:
    Chinese segmentation. `characters`: single characters of scripts without spaces, words of other scripts. `letters`:
    every code point of any script (code, domains, names), with one token for white space.
    """
    jieba_hmm: bool = True
    """Let jieba find words that its dictionary lacks, by a hidden Markov model.

    Without it, `rjieba`, if installed, gives the same segments in a tenth of the time.
    """
    signs: bool = True
    """Keep emoji, emoticons and signs as tokens of `words`. Without them, `!` and `?` are its only signs.

    A sentiment often depends on them alone. An emoji is one token with its skin tone and all that is joined to it,
    without variation selectors. Emoticons (`:)`, `:-D`, `<3`, `^_^`), `...`, `$`, `%`, `+` and other symbols are
    tokens, as are `c++`, `c#` and a run of stars. `#tag` is `#` and `tag`, `@user` is `@` and `user`: the word is the
    same token with and without its sign. `-` is a token only in front of a number. `&`, dashes, brackets, quotes and
    other punctuation are separators.
    """
    lowercase: bool = True
    half_width: bool = False
    """Replace full-width letters, digits and signs (U+FF01 to U+FF5E) by their ASCII forms."""
    vocab_size: int = Field(default=30000, ge=3)
    """Maximum vocabulary size, including PAD and UNK."""
    min_count: int = Field(default=1, ge=1)
    """Minimum number of occurrences; rarer tokens become UNK."""
    max_length: int = Field(default=256, ge=1)
    """Maximum number of tokens per text; longer texts are truncated.

    A longer sentence of `tagged` data is divided into pieces instead, so that no tag is lost.
    """
    truncate: Literal["head", "tail", "both"] = "head"
    """The section of a longer text that is kept: its head, its tail, or both ends."""
    head_share: Share = 0.25
    """Share of `max_length` kept from the head with `both`; the remainder is from the tail."""
