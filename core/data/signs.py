"""Signs of the `words` tokenizer: emoji, emoticons, stars, hearts, currencies and other symbols."""

from __future__ import annotations

SYMBOLS = (
    "\u00a2-\u00a5\u00a9\u00ae\u00b0\u00b1\u00d7\u00f7\u20a0-\u20cf\u2100-\u214f\u2190-\u24ff\u25a0-\u27ff"
    "\u2900-\u2bff\u3004\u3012\u3013\u3020\u3030\u303d\u3200-\u33ff\U0001f000-\U0001faff"
)
"""Blocks of emoji and other symbols, without box drawing and Braille.

They are listed because `unicodedata` would make tokens depend on Python's version.
"""

TONES = "\U0001f3fb-\U0001f3ff"
TAGS = "[\U000e0020-\U000e007f]+"

KEYCAP = "[0-9#*]\u20e3"

EMOJI = (
    "[\U0001f1e6-\U0001f1ff]{2}"  # a flag
    rf"|[{SYMBOLS}](?:[{TONES}]|{TAGS})?(?:\u200d[{SYMBOLS}][{TONES}]?)*"
)
"""Pattern of one emoji or symbol with its skin tone, its tags, and the emoji joined to it."""

REWRITTEN = str.maketrans(
    {
        "\ufe0e": None,  # variation selectors: the same emoji is written with and without
        "\ufe0f": None,
        "\u2026": "...",
        "\u203c": "!!",
        "\u2049": "!?",
        "\uff01": "!",
        "\uff1f": "?",
        "\u061f": "?",
    }
)
"""Other code points of the same signs."""

FACES = "|".join(
    (
        r"[:;=](?:'?[-^o]?\)|'?[-^]?\((?!\w)|(?<![\w\"'].)'?[-^]?\()",  # :) also after a word, :( not in "cast:(John)"
        r"[:;](?<![\w\"'\[].)'?-?[\[\]{}](?!\w)|=(?<![\w\"'\[].)\](?!\w)",
        r"[:;=](?<![\w:;=/].)'?-?[DdPp](?!\w)|[:;](?<![\w:;=/].)-?[OoSsXxCc3](?!\w)",
        r"[:;](?:(?<![\w:|].)-?|-)[/\\|](?![\w/\\|])|=(?<![\w:=].)[/\\](?![\w/\\])",
        r":(?<![\w*:].)'?-?\*(?![\w*])",
        r"\((?<![\w(].)-?[:;](?!\w)",
        r">(?<![\w\"'/>].)(?:[:;]'?-?[()\[\]/|](?![\w/])|[_.]<)",  # not the end of an HTML tag
        r"</?3(?!\d|[.,]\d)",
        r"\^_*\^|-_+-|;_;",
    )
)
"""Pattern of an emoticon, such as `:)`, `:-D`, `<3` and `^_^`.

A face with a letter or a slash has to stand alone, so that `10:30`, `a:d`, `C:/` and `http://` contain none.
"""

MARKS = "|".join(
    (
        r"\.(?<!\.\.)\.\.",  # the first three of several dots
        r"\*(?<![\w*].)\**(?![\w*])",  # **** of five stars, not **bold** or f**k
        r"[#@](?<![\w#@].)(?=\w)",  # the word of a tag or a mention is another token
        r"-(?<!\S.)(?=\d)",
    )
)
"""Pattern of other ASCII signs, besides those that are tokens everywhere (`!`, `?`, `$`, `%`, `+`)."""

FIRST = r"[:;=(><^.*#@-]"
"""Characters with which a face or a mark begins."""

SUFFIX = r"(?:\+\+(?!\+)|[+#](?<=\b[^\W\d_].)(?![\w+#])|_(?<=\b[TtOoUu]_)_*[TtOoUu]\b)?"
"""Pattern of the end of `c++`, `c#`, the grade `a+`, and the faces `t_t`, `o_o` and `u_u`."""

ASCII_SIGNS = rf"[!?$%+]|(?={FIRST})(?:{FACES}|{MARKS})"
SIGNS = rf"{ASCII_SIGNS}|{EMOJI}"
