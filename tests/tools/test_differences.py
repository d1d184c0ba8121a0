"""docs/differences.md: the effects are there, of the size that the page says, and the page says what was measured."""

from __future__ import annotations

import json
import re

import pytest

import backends

for name in backends.NAMES:
    if not backends.installed(name):
        pytest.skip(f"{name} is not installed: differences need both frameworks", allow_module_level=True)

from tools.differences import __main__ as SCRIPT  # noqa: E402

REGISTRY, PAGE = SCRIPT.REGISTRY, SCRIPT.page
TEXT = SCRIPT.PAGE.read_text(encoding="utf-8")
RESULTS = json.loads(SCRIPT.JSON.read_text(encoding="utf-8"))
RUNS = RESULTS["runs"]
TOO_LONG = {"own_start_training", "clip_global_norm"}
"""Hundreds of training steps each; the script measures them, and the page's claims on their figures are tested."""

ROUNDING = {
    "batch_axis": {"right"},
    "batch_norm": {"mean"},
    "cell_outputs_past_end": {"state"},
    "cell_results": {"apart"},
    "float32_drift": {"step_1", "step_10", "step_50", "step_100", "step_200"},
    "lengths": {"agree"},
    "log_sigmoid": {"torch_10", "torch_17", "slope_torch", "slope_paddle"},
    "linear_layout": {"right"},
    "norm_float32": {"torch_norm", "torch_dot", "torch_squares", "paddle_norm", "paddle_squares"},
    "softmax_axis": {"matrix"},
}
"""Errors of float32, which depend on the processor: for these the claims are what is tested."""


def this_run() -> dict:
    """The recorded run of the installed versions, or a skip."""
    run = RUNS.get(SCRIPT.versions()["paddle"].partition(".")[0])
    installed = {name: SCRIPT.versions()[name] for name in backends.NAMES}
    if run is None or any(run["versions"][name] != version for name, version in installed.items()):
        pytest.skip(f"no figures of {installed} on the page: run python -m tools.differences")
    return run


@pytest.fixture
def one_thread():
    threads = SCRIPT.torch.get_num_threads()
    SCRIPT.torch.set_num_threads(1)
    yield
    SCRIPT.torch.set_num_threads(threads)


def order_of_magnitude(found: object, recorded: object) -> bool:
    """Equal; or numbers of one sign within a factor of ten, or both no more than float64's rounding."""
    if not isinstance(found, float) or not isinstance(recorded, float):
        return found == recorded
    if max(abs(found), abs(recorded)) < 1e-12:
        return True
    return found * recorded > 0 and 0.1 < found / recorded < 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, entry in REGISTRY.items() if not entry.slow and name not in TOO_LONG])
def test_effects_have_the_documented_size(name, one_thread):
    recorded = this_run()["figures"][name]
    found = REGISTRY[name].measure()
    entry, newest = REGISTRY[name], this_run() is RUNS[max(RUNS, key=int)]
    assert entry.claim(found) or (entry.older and not newest), f"the page's text does not hold: {found}"
    assert found.keys() == recorded.keys()
    for figure, value in found.items():
        if figure in ROUNDING.get(name, ()):
            continue
        assert order_of_magnitude(value, recorded[figure]), f"{figure}: {value}, on the page {recorded[figure]}"


def test_recorded_figures_support_the_text():
    for major, run in RUNS.items():
        assert PAGE.unfit(run, major == max(RUNS, key=int)) == []


def test_every_measurement_was_recorded_and_is_on_the_page():
    for run in RUNS.values():
        assert list(run["figures"]) == list(REGISTRY)
    for name, entry in REGISTRY.items():
        assert f'<a id="{name}"></a>' in TEXT
        assert entry.title in TEXT and entry.measure.__doc__


def test_the_page_holds_the_figures_of_the_json():
    assert PAGE.draw(RESULTS) == TEXT, "run: python -m tools.differences --page"


def test_changed_figures_change_the_page_or_break_the_claim():
    """All recorded figures are on the page, and no number on it is typed by hand."""
    for name, entry in REGISTRY.items():
        figures = RUNS[max(RUNS, key=int)]["figures"][name]
        shown = entry.effect + entry.size
        assert "{" in shown, f"the entry {name} shows no figure"
        for figure, value in figures.items():
            other = value + 2 * abs(value) + 1 if isinstance(value, int | float) else f"not {value}"
            changed = {**figures, figure: other}
            visible = PAGE.fill(shown, changed) != PAGE.fill(shown, figures)
            assert visible or not entry.claim(changed), f"{name}: {figure} is not on the page"


def test_links_have_targets():
    anchors = set(re.findall(r'<a id="([^"]+)">', TEXT))
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https:"):
            assert (SCRIPT.DOCS / target.partition("#")[0]).exists(), target


def test_short_numbers():
    assert PAGE.fill("{x:e} {y:e} {z:e}", {"x": 1.04e-7, "y": 0.0, "z": 12345.0}) == "1e-7 0 1.2e4"
    assert PAGE.fill("{x:.1g} {y:.2f}", {"x": 0.1234, "y": 0.5}) == "0.1 0.50"
