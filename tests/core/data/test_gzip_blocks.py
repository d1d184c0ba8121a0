"""Blocks of gzip files are what Python's `gzip` reads, and damage is found."""

from __future__ import annotations

import gzip
import io
import zlib

import pytest

from core.data import gzip_blocks
from core.data.gzip_blocks import unpacked


def random_file(rng):
    """Return a gzip file of several members with padding, and its content."""
    packed, content = b"", b""
    for _ in range(int(rng.integers(1, 4))):
        own = rng.integers(97, 100, int(rng.integers(5000))).astype("u1").tobytes() + bytes(int(rng.integers(9000)))
        packed += gzip.compress(own, int(rng.integers(10))) + bytes(int(rng.integers(2) * rng.integers(600)))
        content += own
    return packed, content


@pytest.fixture
def small_blocks(rng, monkeypatch):
    monkeypatch.setattr(gzip_blocks, "READ", int(rng.integers(1, 300)))
    monkeypatch.setattr(gzip_blocks, "MOST", int(rng.integers(1, 3000)))


def test_blocks_are_the_content(rng, small_blocks):
    for _ in range(10):
        packed, content = random_file(rng)
        assert gzip.decompress(packed) == content
        blocks = list(unpacked(io.BytesIO(packed), 10))
        assert b"".join(blocks) == content
        assert all(blocks) and all(len(block) <= gzip_blocks.MOST for block in blocks[1:])
        assert not blocks or len(blocks[0]) <= 10


def test_damage_is_found(rng, small_blocks):
    content = rng.integers(256, size=1000).astype("u1").tobytes()
    packed = gzip.compress(content)
    for size in (0, 5, 100, len(packed) - 9, len(packed) - 8, len(packed) - 1):
        with pytest.raises(EOFError):
            list(unpacked(io.BytesIO(packed[:size]), 10))
    for wrong in (packed[:-8] + b"\1" * 8, packed[:-4] + b"\1" * 4, packed + b"more", b"BZ" + packed[2:]):
        with pytest.raises(zlib.error):
            list(unpacked(io.BytesIO(wrong), 10))
