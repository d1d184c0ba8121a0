"""The source distribution holds what its README and its tests use."""

import subprocess
import sys
import tarfile

from tests.markdown import ROOT

FOLDERS = ("backends", "core", "docs", "examples", "notebooks", "seqtwin", "tasks", "tests", "tools")
BUILT = {"recurrent.so", "recurrent.txt"}


def test_the_source_distribution_is_complete(tmp_path):
    build = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", tmp_path, "sdist", "--dist-dir", tmp_path]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        inside = {name.partition("/")[2] for name in opened.getnames()}
    files = {path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()}
    files |= {path for path in ROOT.iterdir() if path.suffix in (".md", ".toml", ".txt", ".cff")} | {ROOT / "Makefile"}
    wanted = {path.relative_to(ROOT) for path in files if path.name not in BUILT}
    wanted = {str(path) for path in wanted if not any(part.startswith((".", "__py")) for part in path.parts)}
    assert len(wanted) > 200
    assert wanted <= inside, sorted(wanted - inside)
    assert not {name for name in inside if name.endswith((".pyc", ".so"))}
