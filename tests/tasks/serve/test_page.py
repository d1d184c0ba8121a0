"""The page in a headless Chromium: text, words, file, keyboard, errors, phone and dark mode."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.tasks.serve.browser import CHROMIUM, Page, browser
from tests.tasks.serve.served import RUN, Process, serving

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]
HOSTILE = "film <img src=x onerror=document.title='hacked'> </span><script>document.title='hacked'</script> bad"
SHOWN = "!document.getElementById('effects').hidden && !document.getElementById('predict').disabled"


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with serving(RUN) as own:
        yield own


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as own:
        yield own


def text_of(page: Page, name: str) -> str:
    return page.value(f"document.getElementById({name!r}).innerText")


def test_a_typed_text_is_answered_by_the_keyboard_alone(page, server):
    page.open(server.url())
    page.wait(f"document.getElementById('title').innerText === {RUN.name!r}")
    page.send("Input.insertText", text="film zzqx bad")  # the text has the focus
    page.press("Enter", 13, control=True)
    page.wait(SHOWN)
    _, tree = server.post("/predict", {"text": "film zzqx bad"})
    answer = tree["answer"]
    assert text_of(page, "answer") == f"{answer['label']} ({100 * answer['probability']:.1f} %)"
    rows = page.value("[...document.querySelectorAll('#classes tbody tr')].map(own => own.innerText.split('\\t'))")
    expected = sorted(answer["probabilities"].items(), key=lambda own: -own[1])
    assert [[row[0], row[-1]] for row in rows] == [[name, f"{100 * share:.1f} %"] for name, share in expected]
    _, tree = server.post("/explain", {"text": "film zzqx bad"})
    words = page.value("[...document.querySelectorAll('#words .word')].map(own => [own.innerText, own.className])")
    assert [word for word, _ in words] == ["film", "zzqx", "bad"] and text_of(page, "words") == "film zzqx bad"
    assert [("unknown" in kind) for _, kind in words] == [own["unknown"] for own in tree["explanation"]["pieces"][::2]]
    strongest = max(tree["explanation"]["words"], key=lambda own: abs(own["effect"]))
    kind = "for" if strongest["effect"] > 0 else "against"
    unknown = " unknown" if strongest["token"].startswith("[") else ""
    assert [strongest["token"].strip("[]"), f"word {kind} strong{unknown}"] in words
    assert text_of(page, "strongest").startswith(f"{strongest['token']}: ")
    assert page.problems == []


def test_a_hostile_text_is_shown_as_text(page, server):
    page.open(server.url(f"/?text={quote(HOSTILE)}"))
    page.wait(SHOWN)
    assert page.value("document.getElementById('text').value") == HOSTILE
    assert page.value("document.querySelectorAll('#result img, #result script').length") == 0
    assert page.value("document.title") == f"{RUN.name} \u2013 seqtwin"


def test_an_empty_text_has_no_prediction(page, server):
    page.open(server.url(f"/?text={quote('()')}"))
    page.wait("!document.getElementById('result').hidden")
    assert text_of(page, "answer") == "No prediction: the text has no words."


def test_a_file_comes_back(page, server, tmp_path):
    table, downloads = tmp_path / "t.csv", tmp_path / "downloads"
    table.write_text("n,text\n1,film\n2,bad film\n")
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    page.open(server.url())
    page.choose_file("#file", table)
    page.value("document.getElementById('upload').click()")
    page.wait("document.getElementById('state').innerText.startsWith('Done')")
    content = page.value("fetch(document.querySelector('#state a').href).then(own => own.text(), own => String(own))")
    if "text" not in content:  # the policy allows no connection to a blob: read the download
        content = downloaded(downloads, page)
    rows = list(csv.reader(content.lstrip("\ufeff").splitlines()))
    assert [row[:2] for row in rows] == [["n", "text"], ["1", "film"], ["2", "bad film"]]
    assert rows[0][2:] == ["predicted", "p_bad", "p_good"] and rows[1][2] in ("bad", "good")


def downloaded(folder: Path, page: Page) -> str:
    for _ in range(600):
        found = list(folder.glob("*.csv"))
        if found:
            return found[0].read_text(encoding="utf-8")
        page.value("new Promise(own => setTimeout(own, 50))")
    raise AssertionError("no file was downloaded")


def test_errors_are_shown(page, server, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,film\n")
    page.open(server.url())
    page.choose_file("#file", table)
    page.value("document.getElementById('upload').click()")
    page.wait("!document.getElementById('error').hidden")
    assert text_of(page, "error").startswith("t.csv: no column 'text' (first row: a, b)")
    assert page.value("document.getElementById('error').getAttribute('role')") == "alert"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "phone"), [(360, True), (1100, False)])
def test_the_page_fits_phones_and_both_modes(page, server, width, phone, dark):
    page.open(server.url(f"/?text={quote('film bad zzqx ' + 'very' * 40)}"), width=width, dark=dark, phone=phone)
    page.wait(SHOWN)
    assert page.value("document.documentElement.scrollWidth") <= width
    for selector in ("#predict", "#answer", "#words .word", ".legend .word", "#run", "#hint", "#strongest li"):
        assert contrast(page, selector) >= 4.5, selector
    labels = page.value("[...document.querySelectorAll('textarea, input')].every(own => own.labels.length === 1)")
    assert labels is True


CONTRAST = """(() => {
  const own = document.querySelector(SELECTOR), layers = [];
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  for (let at = own; at; at = at.parentElement) layers.push(numbers(getComputedStyle(at).backgroundColor));
  let back = [255, 255, 255];
  for (const [r, g, b, a = 1] of layers.reverse()) back = back.map((c, i) => c * (1 - a) + [r, g, b][i] * a);
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = (color) => color.map((c) => linear(c / 255))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const both = [light(numbers(getComputedStyle(own).color).slice(0, 3)), light(back)].sort();
  return (both[1] + 0.05) / (both[0] + 0.05);
})()"""


def contrast(page: Page, selector: str) -> float:
    """Return the contrast of an element's text with its background, as WCAG defines it."""
    return page.value(CONTRAST.replace("SELECTOR", json.dumps(selector)))
