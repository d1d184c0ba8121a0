"""Pages of HTML for tests: read strictly, looked over for what they would fetch, and shown in a browser."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

VOID = {"meta", "br", "link", "img", "input", "hr", "wbr"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Page(HTMLParser):
    """A page read strictly: every element is closed, in order. Keeps tags with attributes, text, and tables' cells."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.content, self.open, self.tags, self.tables, self.words = content, [], [], [], []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append((dict(attrs).get("class", ""), []))
        elif tag == "tr":
            self.tables[-1][1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][1][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def table(self, name: str) -> list[dict[str, str]]:
        """The rows of the first table of a class, by the names of the columns."""
        head, *rows = next(rows for found, rows in self.tables if name in found.split())
        return [dict(zip(head, row, strict=True)) for row in rows]


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def stands_alone(page: Page, images: bool = False) -> None:
    """No script, no reference to the network or to another file, and it says so to the browser. With `images` there may
    be some, inside the page."""
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base") and (tag != "img" or images)
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if tag == "img" and name == "src":
                assert value.startswith("data:image/png;base64,")
            elif name in ("href", "src", "xlink:href", "srcset", "action", "data"):
                assert value.startswith("#") and value[1:] in ids, (tag, name, value)
    style = re.search(r"<style>.*?</style>", page.content, re.DOTALL).group()
    assert "@import" not in style and "url(" not in style and "://" not in style
    for reference in re.findall(r"url\(([^)]*)\)", page.content):
        assert reference.startswith("#") and reference[1:] in ids
    policies = [own["content"] for tag, own in page.tags if own.get("http-equiv") == "Content-Security-Policy"]
    assert policies and policies[0].startswith("default-src 'none'") and "http" not in policies[0]
    assert "base-uri 'none'" in policies[0] and "form-action 'none'" in policies[0]
    assert any(own.get("name") == "viewport" for _, own in page.tags)
    for query in ("prefers-color-scheme: dark", "@media print", "max-width"):
        assert query in style


def fits(page: Page, width: int, folder: Path) -> None:
    """In a browser it is no wider than the window, fetches nothing, and says nothing on the console."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        pytest.skip(f"no browser is installed: {', '.join(BROWSERS[:3])}")
    # A browser's window has a least width; a frame has none.
    script = (
        "onload = () => { const frame = document.querySelector('iframe').contentWindow;"
        " frame.document.querySelectorAll('details').forEach(one => one.open = true);"
        " document.title = [frame.innerWidth, frame.document.documentElement.scrollWidth,"
        " frame.performance.getEntriesByType('resource').length].join(' '); }"
    )
    frame = f'<iframe width="{width}" height="900" style="border:0" srcdoc="{html.escape(page.content)}"></iframe>'
    wrapper = folder / "wrapper.html"
    wrapper.write_text(f"<!DOCTYPE html><title>-</title><script>{script}</script>{frame}", encoding="utf-8")
    argv = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    argv += [f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 500)},900", wrapper.as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    inner, scrolled, fetched = map(int, re.search(r"<title>(\d+) (\d+) (\d+)</title>", done.stdout).groups())
    assert inner == width and scrolled <= width and fetched == 0
    assert "CONSOLE" not in done.stderr, done.stderr
