"""`setup.py`: what it compiles, and what is left where it cannot. The compiled code under the compiler's sanitizers."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backends import kernels

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "backends" / "kernels"

pytest.importorskip("setuptools.command.bdist_wheel", reason="setuptools 70.1 or later is not installed")


def load_setup():
    """The module `setup.py`, which does nothing when imported."""
    spec = importlib.util.spec_from_file_location("seqtwin_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(tmp_path) -> Path:
    """What an installation reads, in a folder of its own, with a library and a note that an earlier one left."""
    folder = tmp_path / "copy"
    for name in ("backends", "core", "tasks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "recurrent.so"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    (folder / "backends" / "kernels" / kernels.LIBRARY.name).write_text("stale")
    (folder / "backends" / "kernels" / kernels.NOTE.name).write_text("stale")
    return folder


def python(folder: Path, *arguments: str, **environment: str) -> str:
    ours = ("CXX", "CXXFLAGS", "LDFLAGS", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=kept | environment, capture_output=True, text=True, check=True
    )
    return done.stdout


FAILURE = "from backends import kernels; print(kernels.failure())"
BROKEN = "import sys; sys.exit('x.cpp:1: error: no such thing, and more')"


@pytest.mark.parametrize(
    "environment, reason",
    [
        ({"CXX": shlex.join([sys.executable, "-c", "raise SystemExit(3)"])}, r"\(exit code 3\)"),
        ({"CXX": shlex.join([sys.executable, "-c", BROKEN])}, r"\(x.cpp:1: error: no such thing, and more\)"),
        ({"CXX": "no-such-compiler --fast"}, r"no C\+\+ compiler \(no-such-compiler\) was found"),
        ({"PATH": ""}, r"no C\+\+ compiler \(g\+\+ or clang\+\+\) was found"),
    ],
)
def test_failed_compilation_leaves_its_reason_and_no_stale_library(copy, environment, reason):
    said = python(copy, "setup.py", "-q", "build_ext", "--inplace", **environment)
    *begun, line = [line for line in said.splitlines() if line.startswith("seqtwin: ")]  # pip shows them with -v
    assert re.search(reason, line)
    found = "was found" not in reason
    assert len(begun) == found and all(re.search(r": compiling .+ for portable.*: about \d+ s$", one) for one in begun)
    assert not (copy / "backends" / "kernels" / kernels.LIBRARY.name).exists()
    failure = python(copy, "-c", FAILURE).strip()
    assert failure.startswith("it was not compiled (") and re.search(reason, failure)


def wheel_of(copy: Path, **environment: str) -> zipfile.ZipFile:
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    python(copy, "-c", code, "dist", **environment)
    (path,) = (copy / "dist").iterdir()
    assert re.fullmatch(r"seqtwin-[\d.]+-py3-none-\w+\.whl", path.name) and not path.name.endswith("-any.whl")
    return zipfile.ZipFile(path)


def test_wheel_without_the_library_contains_the_reason(copy, tmp_path):
    with wheel_of(copy, CXX="no-such-compiler") as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / "installed")
    assert f"backends/kernels/{kernels.LIBRARY.name}" not in names
    assert {"backends/kernels/recurrent.cpp", "backends/kernels/recurrent.h"} <= names
    assert "no-such-compiler" in python(tmp_path / "installed", "-c", FAILURE)


def stand_in(copy: Path) -> Path:
    """A compiler that knows no AVX-512, writes down how it was called, and makes files that hold nothing."""
    program = copy / "compiler.py"
    program.write_text(
        """
import pathlib, sys
if "-mavx512f" in sys.argv:
    sys.exit("error: unrecognized command-line option")
with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).write_text("made")
"""
    )
    return program


def test_compiler_calls(copy):
    """For every instruction set that it knows; for no machine in particular; as CXXFLAGS and LDFLAGS say."""
    compiler = f"{sys.executable} {stand_in(copy)}"
    with wheel_of(copy, CXX=compiler, CXXFLAGS="-O2 -Dmine", LDFLAGS="-lmine") as wheel:
        assert wheel.read(f"backends/kernels/{kernels.LIBRARY.name}") == b"made"
        assert f"backends/kernels/{kernels.NOTE.name}" not in wheel.namelist()
    *compiled, linked = (copy / "calls").read_text().splitlines()
    known = [target for target in load_setup().TARGETS if target != "avx512"]
    arithmetic = {path.name for path in SOURCES.glob("*.cpp")} - {"runtime.cpp"}
    assert len(compiled) == len(arithmetic) * len(known) + 1
    for call in compiled:
        assert call.startswith("-O3 ") and " -O2 -Dmine -c " in call and "-march" not in call
        if "runtime.cpp" in call:
            assert re.findall(r"-DSEQTWIN_(\w+)", call) == [target.upper() for target in known[1:]]
            assert "-fvisibility=hidden" not in call and "-mavx" not in call
    for target in known:
        assert {call.rsplit(" -o ")[0].rsplit("/")[-1] for call in compiled if f"={target} " in call} == arithmetic
    # A function of the standard library that several objects hold is taken from the first of them.
    objects = re.findall(r"(\w+)\.o ", linked)
    assert objects[0] == "any" and list(dict.fromkeys(objects[1:])) == known
    assert linked.index(".o ") < linked.index(" -lmine ")


# ---- under the sanitizers ----

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
SECONDS = 8


def compile_driver(folder: Path, flags: list[str]) -> Path:
    """`driver.cpp` with the plainest build of the layers and the best one that runs here.

    Skips where the compiler has no such sanitizer.
    """
    setup = load_setup()
    try:
        compiler = [*setup.find_compiler(), "-std=c++17", "-pthread", "-g1", *flags]
    except setup.CannotCompile as error:
        pytest.skip(str(error))
    probe = folder / "probe.cpp"
    probe.write_text("int main() { return 0; }\n")
    made = subprocess.run([*compiler, str(probe), "-o", str(folder / "probe")], capture_output=True)
    if made.returncode != 0 or subprocess.run([folder / "probe"], capture_output=True).returncode != 0:
        pytest.skip(f"the compiler has no {flags[0]}")

    targets = {"portable", kernels.target()} if kernels.failure() is None else {"portable"}
    # A buffer inside the layers has exactly its size too: see the driver.
    exact = ["-Dtake=exact_take", "-Dgive_back=exact_give_back"]
    calls = {
        f"{target}-{name}": [*setup.TARGETS[target], f"-DTARGET={target}", *exact, "-c", str(SOURCES / name)]
        for target in targets
        for name in setup.ARITHMETIC
    }
    chosen = [f"-DSEQTWIN_{target.upper()}" for target in targets - {"portable"}]
    calls["runtime"] = [*chosen, "-c", str(SOURCES / setup.RUNTIME)]
    calls["driver"] = ["-c", str(ROOT / "tests" / "kernels" / "driver.cpp")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda name: setup.run([*compiler, *calls[name], "-o", str(folder / f"{name}.o")]), calls))
    setup.run([*compiler, *[str(folder / f"{name}.o") for name in calls], "-o", str(folder / "driver")])
    return folder / "driver"


@pytest.mark.slow
def test_memory_accesses_under_the_sanitizers(rng, tmp_path):
    """Random problems, two callers at once, arrays of exactly their size; not optimised: that compiles faster."""
    driver = compile_driver(tmp_path, ["-O0", *SANITIZERS])
    done = subprocess.run([driver, str(SECONDS), str(rng.integers(1 << 31))], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 10
