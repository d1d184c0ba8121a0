"""Digests of files."""

import hashlib

import pytest

from core.data.download import CHUNK, file_digest
from core.errors import UserError


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1])
def test_file_digest_reads_the_whole_file(tmp_path, size, monkeypatch):
    monkeypatch.delattr(hashlib, "file_digest", raising=False)  # missing in Python 3.10
    data = bytes(range(251)) * (size // 251 + 1)
    path = tmp_path / "file"
    path.write_bytes(data[:size])
    assert file_digest(path, "sha256") == hashlib.sha256(data[:size]).hexdigest()
    assert file_digest(path, "md5") == hashlib.md5(data[:size]).hexdigest()


def test_file_digest_of_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        file_digest(tmp_path / "missing", "md5")
