"""Measure the differences between Paddle and PyTorch; write `docs/differences.json` and `docs/differences.md`.

    python -m tools.differences                       # all measurements, a few minutes
    python -m tools.differences --only max_ties srn   # some; the other figures are kept
    python -m tools.differences --page                # only the page, after a change of its text

In an environment with an older Paddle, the program adds the figures of that version (one run per major version). If
figures contradict the text of the page, it lists them and exits with code 1: the text must be changed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
import warnings
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
warnings.filterwarnings("ignore", module="paddle")
if __name__ == "__main__":
    # One thread in both frameworks: the models are small, and the figures must not depend on the number of cores.
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402

from backends.paddle.framework import paddle  # noqa: E402
from backends.torch.framework import torch  # noqa: E402
from core.engine.machine import usable_cores  # noqa: E402
from tools.differences import REGISTRY, page  # noqa: E402

THEMES = [
    "starting",
    "layers",
    "images",
    "recurrent",
    "convolutions",
    "compat",
    "loss",
    "optimizer",
    "clipping",
    "padding",
    "files",
    "inference",
    "arithmetic",
    "speed",
    "copies",
    "agreements",
]
"""Modules of this package, in page order. Importing a module registers its measurements."""
for theme in THEMES:
    importlib.import_module(f"tools.differences.{theme}")

JSON, PAGE = DOCS / "differences.json", DOCS / "differences.md"


def versions() -> dict[str, str]:
    """Return the versions that determine the figures."""
    return {
        "torch": torch.__version__.partition("+")[0],
        "paddle": paddle.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def machine() -> dict[str, object]:
    """Return the number of cores and the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return {"cores": usable_cores(), "cpu": cpu.replace("(R)", "")}


def measure(names: list[str]) -> dict[str, dict[str, object]]:
    """Run measurements, with a progress line each; return their figures."""
    found = {}
    for number, name in enumerate(names, start=1):
        print(f"{number:2d}/{len(names)}  {name:24s}", end="", flush=True)
        begin = time.perf_counter()
        found[name] = REGISTRY[name].measure()
        print(f"{time.perf_counter() - begin:6.1f} s", flush=True)
    return found


def read() -> dict:
    """Return the recorded figures."""
    return json.loads(JSON.read_text(encoding="utf-8")) if JSON.exists() else {"runs": {}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", nargs="+", choices=sorted(REGISTRY), metavar="ID", help="run only these measurements [all]"
    )
    parser.add_argument("--page", action="store_true", help="only write the page, from recorded figures")
    arguments = parser.parse_args()
    results = read()
    if not arguments.page:
        major = paddle.__version__.partition(".")[0]
        before = results["runs"].get(major, {}).get("figures", {}) if arguments.only else {}
        figures = {**before, **measure(arguments.only or list(REGISTRY))}
        figures = {name: figures[name] for name in REGISTRY if name in figures}
        results["runs"][major] = {"versions": versions(), "machine": machine(), "figures": figures}
        results["runs"] = dict(sorted(results["runs"].items(), reverse=True))
        JSON.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    newest = max(results["runs"], key=int)
    wrong = [
        f"{name} (Paddle {run['versions']['paddle']})"
        for major, run in results["runs"].items()
        for name in page.unfit(run, major == newest)
    ]
    if wrong:
        print("the page's text contradicts the figures of: " + ", ".join(wrong), file=sys.stderr)
        return 1
    PAGE.write_text(page.draw(results), encoding="utf-8")
    print(f"wrote {PAGE.name}" if arguments.page else f"wrote {JSON.name} and {PAGE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
