"""The Chinese pages have the headings, code, figures, tables and links of their English pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.markdown import BLOCK, FENCE, ROOT, SPAN, blocks, links

MOST_LINES = 150
CHINESE = ROOT / "README.zh-CN.md"
PAIRS = [(ROOT / "README.md", CHINESE)]
PAIRS += [(ROOT / "docs" / page.name, page) for page in sorted((ROOT / "docs" / "zh-CN").glob("*.md"))]
TRANSLATED = dict(PAIRS)

COMMENT = re.compile(r"\s+# .*$")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
HAN = "[\u4e00-\u9fff]"

each_pair = pytest.mark.parametrize("english, chinese", PAIRS, ids=[page.stem for page, _ in PAIRS])


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return BLOCK.sub("", FENCE.sub("", text))


def levels(text: str) -> list[int]:
    """Return the level of each heading of a page, in order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", prose(text), re.MULTILINE)]


def code(text: str) -> list[list[str]]:
    """Return the lines of each block of a page, without comments at their ends."""
    return [[COMMENT.sub("", line).rstrip() for line in block.splitlines()] for block in blocks(text)]


def tables(text: str) -> Iterator[list[list[str]]]:
    """Yield the tables of a page: lists of rows, which are lists of cells."""
    for table in re.findall(r"^(?:\|.*\|\n)+", prose(text), re.MULTILINE):
        yield [re.split(r" *(?<!\\)\| *", row.strip("|")) for row in table.splitlines()]


def numbers(text: str) -> list[str]:
    """Return the numbers of a text, outside the targets of its links, sorted: the languages order them differently."""
    return sorted(number.rstrip(",") for number in NUMBER.findall(re.sub(r"\]\([^)]*\)", "]", text)))


def spans(text: str) -> list[str]:
    """Return the code within the sentences of a page, sorted."""
    return sorted(" ".join(span.split()) for span in SPAN.findall(text))


def files(page: Path) -> list[Path]:
    """Return the files in this project that a page links to, in order."""
    targets = [target.partition("#")[0] for target in links(read(page)) if not re.match(r"[a-z]+:", target)]
    return [(page.parent / target).resolve() if target else page for target in targets]


@each_pair
def test_headings_have_the_same_levels(english, chinese):
    assert levels(read(chinese)) == levels(read(english))


@each_pair
def test_code_blocks_differ_in_comments_only(english, chinese):
    assert code(read(chinese)) == code(read(english))


@each_pair
def test_tables_have_the_same_rows_and_cells(english, chinese):
    shapes = [[[len(row) for row in table] for table in tables(read(page))] for page in (english, chinese)]
    assert shapes[1] == shapes[0]


@each_pair
def test_tables_have_the_same_numbers(english, chinese):
    def found(page: Path) -> list[list[list[list[str]]]]:
        return [[[numbers(cell) for cell in row] for row in table] for table in tables(read(page))]

    assert found(chinese) == found(english)


@each_pair
def test_prose_has_the_same_numbers_and_code(english, chinese):
    first, second = (prose(read(page)) for page in (english, chinese))
    assert set(numbers(second)) == set(numbers(first))
    assert spans(second) == spans(first)


@each_pair
def test_links_lead_to_files(english, chinese):
    assert not [file for page in (english, chinese) for file in files(page) if not file.exists()]


@each_pair
def test_links_lead_to_the_translation_where_there_is_one(english, chinese):
    expected = {TRANSLATED.get(file, file) for file in files(english) if file != chinese}
    assert {file for file in files(chinese) if file != english} == expected


@each_pair
def test_pages_link_to_each_other_at_their_top(english, chinese):
    for page, other in ((english, chinese), (chinese, english)):
        top = "\n".join(read(page).splitlines()[:3])
        assert other in [(page.parent / target).resolve() for target in links(top)]


@each_pair
def test_punctuation_and_spaces_are_chinese(english, chinese):
    text = re.sub(r"`[^`\n]*`", "`", re.sub(r"\]\([^)]*\)", "]", prose(read(chinese))))
    half_width = re.findall(rf".{{,8}}{HAN}[,.;:!?()].{{,8}}", text)
    no_space = re.findall(rf".{{,8}}(?:{HAN}[A-Za-z0-9`]|[A-Za-z0-9`%]{HAN}).{{,8}}", text)
    assert not half_width + no_space


def test_the_chinese_readme_is_one_page():
    assert len(read(CHINESE).splitlines()) <= MOST_LINES
