"""Every page: strings are escaped wherever they stand, undefined values raise, and nothing outside is loaded."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError

import core.report.bench
import core.report.page
import core.report.run_page
import core.report.two_frameworks
import tasks.run.explain
from core.analysis.marked_text import MarkedText
from core.analysis.occlusion import Explanation
from core.report import html
from core.report.bench import Entry, bench_page
from core.report.charts import curve_svg
from core.report.digit_sums import Group, digits_page
from core.report.exploding import PICTURES, WAYS, Figures, Side, exploding_page
from core.report.page import page, pairs_of
from core.report.run_page import Extras, WordTable, run_page
from core.report.runs import Predictions, Run
from core.spec.experiment import Experiment
from core.strings import shorten
from core.train.misclassified import Misclassified
from tasks.cli.recipes import digit_sum
from tasks.run.explain import Explained, Unexplained, write_page
from tests.core.report.pages import Page, stands_alone

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "core" / "report" / "templates"
SCRIPT = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>{{ 7 * 7 }}"
OF_A_RUN = ("label 0", "label 1", "folder", "problem", "backend", "version", "library", "machine", "machine field")
OF_A_RUN += ("layers", "device", "recipe", "dtype")


def hostile(where: str) -> str:
    return f"{where} {SCRIPT}"


def spec(task: str) -> Experiment:
    """One with hostile strings, which no file of a run would be read with."""
    own = digit_sum()
    training = own.training.model_copy(update={"dtype": hostile("dtype")})
    return own.model_copy(update={"task": task, "recipe": hostile("recipe"), "training": training})


def run(prediction: int, task: str = "imdb", classes: int = 2, label: str = "label") -> Run:
    """A finished run on one text of the first class."""
    backend, names = hostile("backend"), [hostile(f"class {number}") for number in range(classes)]
    segment = {"backend": backend, "versions": {backend: hostile("version")}, "implementation": hostile("layers")}
    execution = {
        "segments": [{**segment, "from_step": 0}, {**segment, "from_step": 3}],
        "versions": {hostile("library"): hostile("version")},
        "machine": {hostile("machine field"): hostile("machine")},
        "device": hostile("device"),
        "data": {"fingerprint": hostile("p"), "description": hostile("data"), "dev_split": hostile("split")},
        "vectors": {"source": hostile("vectors"), "found": 1, "missing": 2},
        "classes": names,
    }
    scores = {"documents": 1, "accuracy": prediction / 2, "macro_f1": 0.5, "loss": 0.5, "step": 1}
    training = {"steps": 1, "seconds": 1, "tokens_per_second": 1}
    test = {**scores, "confusion": np.eye(classes, dtype=int).tolist()}
    metrics = [{"split": split, "epoch": 1, "loss": 0.5, "accuracy": 0.5} for split in ("train", "dev")]
    shares = np.full((1, classes), 1 / classes)
    return Run(
        hostile(f"{label} {prediction}"),
        Path(hostile("folder")),
        spec(task),
        execution,
        {"test": test, "dev": scores, "training": training},
        metrics,
        Predictions([hostile("name")], [names[0]], [names[prediction]], shares, names),
        [hostile("problem")],
    )


def comparison(folder: Path) -> str:
    """Two runs that differ on a text; two on other data, whose texts are gone; and one without a confusion matrix."""
    runs = [run(0), run(1), *(run(number, hostile("task"), 7, "other") for number in (0, 1)), run(0, "imdb", 2, "odd")]
    for own in runs[2:4]:
        own.execution["data"]["fingerprint"] = hostile("lost")
    del runs[4].result["test"]["confusion"]
    texts = {hostile("p"): {hostile("name"): hostile("text")}}
    return page(runs, pairs_of(runs), texts, {hostile("lost"): hostile("reason")})


def digit_sums(folder: Path) -> str:
    group = Group.of(hostile("cell"), 5, [(run(0), run(1)), (run(0), run(1, hostile("task")))])
    return digits_page([group], [hostile("framework 0"), hostile("framework 1")], [Path(hostile("root"))] * 2)


def exploding(folder: Path) -> str:
    sides = []
    for number in (0, 1):
        path = folder / f"{number}" / hostile("root")
        path.mkdir(parents=True)
        for name in list(PICTURES)[number:]:
            (path / f"{name}.png").write_bytes(b"\x89PNG")
        values = [[1.0, 2.0], [3.0, 4.0]]
        training = {"norms": {"W": values}, "loss": values, "best_dev_accuracy": [0.5], "test_accuracy": [0.5]}
        results = {
            "training": dict.fromkeys(WAYS, training),
            "state_gradients": {hostile("when"): {"<b> h": values}},
            "seeds": [hostile("seed")],
            "powers": {hostile("when"): {"norms": values, "radius": [0.5, 0.5]}},
            "vanishing_epochs": hostile("epochs"),
            "versions": {hostile("library"): hostile("version")},
            "machine": {hostile("machine field"): hostile("machine")},
            "device": hostile("device"),
            "implementation": hostile("layers"),
        }
        own = spec("exploding").model_copy(update={"recipe": hostile(f"recipe {number}")})
        sides.append(Side(hostile(f"label {number}"), path, own, results, Figures.of(results)))
    return exploding_page(sides)


def bench(folder: Path) -> str:
    """Two models in two frameworks, of one seed."""
    entries = []
    for number in (0, 1):
        own = run(number)
        experiment = own.experiment.model_copy(update={"recipe": hostile(f"recipe {number}")})
        own = replace(own, experiment=experiment)
        about = hostile(f"title {number}"), hostile("about")
        entries += [Entry(f"model {number}", *about, hostile(f"backend {side}"), (own,)) for side in (0, 1)]
    return bench_page(entries, b"\x89PNG")


def explanations(folder: Path) -> str:
    words = [hostile("token"), hostile("unknown"), hostile("truncated")]
    ends = np.cumsum([len(word) for word in words]).tolist()
    marked = MarkedText(
        "".join(words), list(zip([0, *ends], ends, strict=False)), words, np.arange(2), np.array([False, True])
    )
    explanation = Explanation(np.array([0.25, 0.75]), 1, np.array([0.5, -0.25]))
    found = [Explained(marked, explanation, hostile("class")), Unexplained(2, hostile("text"))]
    write_page(folder / "page.html", f"runs/<img src=x>\"'& {SCRIPT.replace('/', '|')}", hostile("engine"), found)
    return (folder / "page.html").read_text(encoding="utf-8")


def run_card(folder: Path) -> str:
    """A run with all that a page of one run can show."""
    own = run(0, classes=3)
    rows = [{"precision": 0.5, "recall": 0.5, "f1": 0.5, "count": 1}] * 3
    bins = {"error": 0.1, "counts": [0, 1], "confidence": [0.0, 0.75], "accuracy": [0.0, 1.0]}
    both = {"before": bins, "after": bins}
    simple = {"name": hostile("simple"), "dev": {"accuracy": 0.5}, "test": {"accuracy": 0.5}}
    own.result["test"] |= {"per_class": rows, "interval": [0.25, 0.75], "confusion": [[1, 2, 0], [0, 1, 0], [0, 0, 1]]}
    own.result["test"]["by_length"] = {"3": [1, 2]}
    own.result.update(
        calibration={"temperature": 1.5, "test": both, "coverage": [[1.0, 0.5]] * 100},
        baseline={**simple, "largest_class": simple, "mcnemar": {"only_model": 1, "only_baseline": 2, "p": 0.5}},
    )
    splits = {"documents": 4, "per_class": [1, 1, 2], "tokens": 9, "mean_length": 2.5, "max_length": 4}
    own.execution["data"] |= {"train": splits, "dev": splits, "test": splits, "left_out": {hostile("skipped"): 1}}
    for line in own.metrics:
        line["learning_rate"] = 0.1
    mistake = Misclassified(*map(hostile, ("mistake", "true", "wrong")), 0.5, hostile("text"))
    words = WordTable(hostile("how"), [(hostile("class of words"), [(hostile("word"), "+1.00 (2)")])])
    return run_page(own, Extras([mistake], [words], [(hostile("what"), hostile("command"))], [hostile("lacking")]))


DATA = ("data", "split", "vectors", "p", "name", "text", "reason", "task", "class 0", "class 6", "other 1", "odd 0")
PAGES = {
    comparison: (*OF_A_RUN, *DATA),
    digit_sums: (*OF_A_RUN[3:], "label 0", "cell", "framework 0", "framework 1", "root", "task"),
    exploding: (*OF_A_RUN[5:-2], "label 0", "label 1", "root", "when", "seed", "epochs", "dtype", "recipe 0"),
    bench: (*OF_A_RUN[:2], *OF_A_RUN[3:-2], "recipe 1", "title 1", "about", "backend 0", "backend 1", "data", "split"),
    run_card: (
        *("label 0", *OF_A_RUN[3:]),
        *("data", "split", "vectors", "p", "simple", "skipped", "mistake", "true", "wrong", "text", "how", "word"),
        *("class of words", "class 2", "what", "command", "lacking"),
    ),
    explanations: ("token", "unknown", "truncated", "text", "engine", "class"),
}
WITH_IMAGES = (exploding, bench)
each_page = pytest.mark.parametrize("build", PAGES, ids=lambda build: build.__name__)

SVG = {"svg", "g", "path", "defs", "use", "text", "clippath", "rect", "style"}
ELEMENTS = {"html", "head", "meta", "title", "body", "main", "header", "section", "article", "div", "span", "p", "h1"}
ELEMENTS |= {"h2", "h3", "i", "small", "ul", "li", "pre", "details", "summary", "figure", "figcaption"}
ELEMENTS |= {"table", "thead", "tbody", "tr", "th", "td"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "style", "title", "dir", "open", "colspan"}
ATTRIBUTES |= {"data-name", "alt", "src"}


@each_page
def test_hostile_strings_are_shown_whole_and_do_nothing(build, tmp_path):
    """In text, in attributes and in the title: whatever a user, a text or a file of a run may hold."""
    found = Page(build(tmp_path))
    stands_alone(found, images=build in WITH_IMAGES)
    images = {"img"} if build in WITH_IMAGES else set()
    assert {tag for tag, _ in found.tags} <= ELEMENTS | SVG | images
    assert {name for tag, own in found.tags if tag not in SVG for name in own} <= ATTRIBUTES
    for tag, own in found.tags:
        assert "alert" not in f"{own.get('class')} {own.get('style')} {own.get('src')}", (tag, own)
    for where in PAGES[build]:
        # In the tree of a spec a string is JSON.
        assert hostile(where) in found.text or hostile(where).replace('"', '\\"') in found.text, where
    if build is digit_sums:
        assert any(hostile("framework 0") in own.get("data-name", "") for _, own in found.tags)
    if build is exploding:
        (*_, alt) = (own["alt"] for tag, own in found.tags if tag == "img")
        assert alt == f"{PICTURES['powers']}, {hostile('label 1')}"


@each_page
def test_a_value_that_is_missing_raises(build, tmp_path, monkeypatch):
    """And each page is given no more than it shows."""
    calls = []

    def note(template: str, **values: object) -> str:
        calls.append((template, values))
        return html.render(template, **values)

    for module in (
        core.report.bench,
        core.report.page,
        core.report.run_page,
        core.report.two_frameworks,
        tasks.run.explain,
    ):
        monkeypatch.setattr(module, "render", note)
    build(tmp_path)
    ((template, values),) = calls
    for name in values:
        with pytest.raises(UndefinedError, match=f"'{name}' is undefined"):
            html.render(template, **{own: value for own, value in values.items() if own != name})


def test_any_template_escapes():
    """Not only those whose names end in .html."""
    environment = html._environment()
    assert environment.autoescape is True
    assert environment.from_string('{{ x }}|<a title="{{ x }}">').render(x="<'\"&") == (
        '&lt;&#39;&#34;&amp;|<a title="&lt;&#39;&#34;&amp;">'
    )


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_templates_leave_escaping_on_and_quote_attributes(path):
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"\bsafe\b|autoescape|tojson|xmlattr|urlize", source)
    assert not re.search(r"=\s*[{']", re.sub(r"{%.*?%}|{{.*?}}", lambda own: own[0].replace("=", ""), source))
    assert not re.search(r"//|<script|<link|@import|url\(|\bon\w+=", source)


def test_only_charts_make_markup():
    """Nothing else may go around the escaping."""
    for room in ("core", "tasks"):
        for path in (ROOT / room).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            assert ("markupsafe" in source) == (path.name == "charts.py"), path
            pages, scripts = ROOT / "core" / "report" / "html.py", ROOT / "core" / "export" / "script.py"
            assert ("jinja2" in source) == (path in (pages, scripts)), path


@each_page
def test_the_policy_allows_nothing_but_style(build, tmp_path):
    """And some pages pictures that they hold themselves."""
    policies = [own["content"] for _, own in Page(build(tmp_path)).tags if "http-equiv" in own]
    style = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert policies == [f"{style}; img-src data:" if build in WITH_IMAGES else style]


def test_text_in_a_chart_is_escaped():
    class Own:
        metrics = ({"split": "train"},)

        def curve(self, split: str, quantity: str):
            return np.arange(2.0), np.arange(2.0)

    content = curve_svg([Own(), Own()], SCRIPT, "chart")
    found = Page(content)
    assert {tag for tag, _ in found.tags} <= SVG and SCRIPT in found.text
    assert found.tags[0][1]["aria-label"].startswith(SCRIPT) and found.tags[0][1]["role"] == "img"


def test_control_characters_of_texts_are_replaced():
    assert shorten("\x1b[2J a\x00b\x9f") == "\ufffd[2J a\ufffdb\ufffd"


def test_an_installed_package_holds_the_templates():
    tomllib = pytest.importorskip("tomllib")
    tree = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = tree["tool"]["setuptools"]["package-data"]["core.report"]
    files = [path.relative_to(TEMPLATES.parent).as_posix() for path in TEMPLATES.iterdir()]
    assert len(files) > 7
    for file in files:
        assert any(fnmatch.fnmatch(file, pattern) for pattern in patterns), file
