"""Compile the C++ library of backends/kernels at installation. All other settings are in pyproject.toml.

The library is C++ with a C interface, independent of Python. The compiler is therefore called directly, without
Python's flags and headers, and one wheel serves every Python version. The library only affects speed: without a working
compiler the installation continues, and a note in the library's folder holds the reason.
"""

import os
import platform
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
KERNELS = Path("backends", "kernels")
RUNTIME = "runtime.cpp"
ARITHMETIC = sorted(path.name for path in (ROOT / KERNELS).glob("*.cpp") if path.name != RUNTIME)
LIBRARY, NOTE = "recurrent.so", "recurrent.txt"  # backends/kernels/__init__.py looks for both

# For GCC and Clang. No -march=native: the library must run on other machines, where it selects one of its builds.
# No -ffast-math: NaN must stay NaN, and sums keep their order. Setting errno would prevent vectorized square roots.
FLAGS = ["-O3", "-std=c++17", "-fPIC", "-fno-math-errno", "-pthread", "-Wall", "-Wextra"]
# Instruction sets, the portable one first. Several objects contain the same function of the standard library, and the
# linker takes the first: in this order, that copy runs on every machine.
TARGETS = {"portable": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    TARGETS["avx2"] = ["-mavx2", "-mfma"]
    TARGETS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
# Measured on a two-core machine with GCC 12: of all files and targets together, and of the longest.
CPU_SECONDS, LONGEST_SECONDS = 36, 8


class CannotCompile(Exception):
    """The compilation failed; the message is the reason, in one line."""


def find_compiler() -> list[str]:
    chosen = shlex.split(os.environ.get("CXX", ""))
    for command in [chosen] if chosen else [["g++"], ["clang++"], ["c++"]]:
        if shutil.which(command[0]):
            return command
    raise CannotCompile(f"no C++ compiler ({chosen[0] if chosen else 'g++ or clang++'}) was found")


def run(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        output = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in output if "error" in line]
        reason = (errors or output[-1:] or [f"exit code {done.returncode}"])[0]
        raise CannotCompile(f"{Path(command[0]).name} failed ({reason})")


def compile_library(library: Path, scratch: Path) -> list[str]:
    """Write the library; return the instruction sets it was compiled for."""
    compiler = find_compiler()
    extra, link = (shlex.split(os.environ.get(name, "")) for name in ("CXXFLAGS", "LDFLAGS"))

    def compile_one(name: str, target: str, flags: list[str]) -> str:
        made = str(scratch / f"{name}.{target}.o")
        run([*compiler, *FLAGS, *flags, *extra, "-c", str(ROOT / KERNELS / name), "-o", made])
        return made

    cores = os.cpu_count() or 1
    names, seconds = ", ".join(TARGETS), max(LONGEST_SECONDS, CPU_SECONDS // cores)
    print(f"seqtwin: compiling the C++ library for {names}: about {seconds} s", flush=True)
    with ThreadPoolExecutor(cores) as pool:
        jobs = {
            target: [
                pool.submit(compile_one, name, target, ["-fvisibility=hidden", f"-DTARGET={target}", *flags])
                for name in ARITHMETIC
            ]
            for target, flags in TARGETS.items()
        }
    # If the compiler does not support an instruction set, only that build is skipped: all builds have every function.
    for target in TARGETS:
        if target != "portable" and any(job.exception() for job in jobs[target]):
            del jobs[target]
    defined = [f"-DSEQTWIN_{target.upper()}" for target in jobs if target != "portable"]
    objects = [compile_one(RUNTIME, "any", defined), *(job.result() for target in jobs for job in jobs[target])]
    run([*compiler, "-shared", "-pthread", *extra, *objects, *link, "-o", str(library)])
    return list(jobs)


class BuildKernels(build_ext):
    """Compile into the source tree for an editable installation, else into the wheel."""

    def run(self) -> None:
        folder = ROOT / KERNELS if self.inplace else Path(self.build_lib) / KERNELS
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(self.build_temp)
        scratch.mkdir(parents=True, exist_ok=True)
        library, note = folder / LIBRARY, folder / NOTE
        # Delete an earlier version first; a running program keeps the one that it has loaded.
        library.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
        try:
            print("seqtwin: compiled the C++ library for", ", ".join(compile_library(library, scratch)))
        except (CannotCompile, OSError) as error:
            library.unlink(missing_ok=True)
            reason = " ".join(str(error).split())
            note.write_text(reason + "\n", encoding="utf-8")
            print("seqtwin: did not compile the C++ library (the frameworks' layers are used):", reason)

    def get_outputs(self) -> list[str]:
        return [str(path) for name in (LIBRARY, NOTE) if (path := Path(self.build_lib) / KERNELS / name).exists()]

    def get_output_mapping(self) -> dict[str, str]:
        return {}  # an editable installation uses the source tree


class Wheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


if __name__ == "__main__":  # tests import the functions above
    setup(
        ext_modules=[Extension("backends.kernels.recurrent", [str(KERNELS / n) for n in (*ARITHMETIC, RUNTIME)])],
        cmdclass={"build_ext": BuildKernels, "bdist_wheel": Wheel},
    )
