"""Messages are cut in the middle, and only where they are long."""

import pytest

from core.strings import message, middle, one_line, printable


def test_control_characters_are_replaced_by_kind():
    text = "a\tb\nc\x1b\x00\x9b\x7f\u202a\u202e\u2066\u2069\udc9b\u200e\u00e9"
    assert printable(text) == "a\tb\nc" + "\ufffd" * 9 + "\u200e\u00e9"
    assert one_line(text) == "a\ufffdb\ufffdc" + "\ufffd" * 9 + "\u200e\u00e9"


@pytest.mark.parametrize(("longest", "text"), [(10, "0123456789"), (9, "0123…6789"), (4, "01…9"), (1, "…")])
def test_the_middle_is_left_out(longest, text):
    assert middle("0123456789", longest) == text and len(text) <= longest


def test_long_words_go_before_the_rest():
    assert message("a  b\nc") == "a b c" and message("x" * 600) == "x" * 600
    short = message(f"{'x' * 1000} is wrong (got {'y' * 1000}): give another one", 300)
    assert short.startswith("xxx") and " is wrong (got yyy" in short and short.endswith("y): give another one")
    assert len(message("word " * 1000, 50)) == 50
