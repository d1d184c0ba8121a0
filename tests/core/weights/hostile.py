"""Builders of hostile weight files: pickles by their opcodes, torch archives, `.npy` members and zip directories."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping

P2 = b"\x80\x02"
DOUBLED = b"K\x01\x85" + b"2\x86" * 60
"""A tuple of 2**60 numbers, all of them the same: to show, hash or copy it would take all memory or years."""
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def raw(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def numbers(values: tuple[int, ...]) -> bytes:
    """A tuple of integers."""
    return b"(" + b"".join(b"\x8a\x09" + value.to_bytes(9, "little", signed=True) for value in values) + b"t"


def entries(pairs: Mapping[str, bytes]) -> bytes:
    """A dict of opcodes by name."""
    return b"}(" + b"".join(text(key) + value for key, value in pairs.items()) + b"u"


def array(shape: tuple[int, ...], code: str, data: bytes) -> bytes:
    """A pickled array of NumPy; `data` are opcodes."""
    made = name("numpy.core.multiarray", "_reconstruct") + b"(" + name("numpy", "ndarray") + b"K\x00\x85C\x01btR"
    kind = name("numpy", "dtype") + b"(" + text(code) + b"\x89\x88tR"
    return made + b"(K\x01" + numbers(shape) + kind + b"\x89" + data + b"tb"


def ones(shape: tuple[int, ...]) -> bytes:
    size = 1
    for axis in shape:
        size *= axis
    return array(shape, "f4", raw(b"\x00\x00\x80\x3f" * size))


def storage(key: str, count: int, kind: str = "FloatStorage") -> bytes:
    """A persistent id."""
    return b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + numbers((count,))[1:-1] + b"tQ"


def tensor(shape: bytes, strides: bytes, count: int = 4, kind: str = "FloatStorage") -> bytes:
    return REBUILD + b"(" + storage("0", count, kind) + b"K\x00" + shape + strides + b"\x89}tR"


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for member, content in files.items():
            archive.writestr(member, content)
    return buffer.getvalue()


def torch_file(pickle: bytes, contents: bytes = bytes(16), method: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """An archive of `torch.save` with one storage."""
    return zipped({"a/data.pkl": P2 + pickle + b".", "a/data/0": contents, "a/version": b"3\n", **more}, method)


def npy(shape: object, code: str = "<f4", data: bytes = b"", header: bytes | None = None) -> bytes:
    """A `.npy` file whose header claims anything."""
    if header is None:
        header = str({"descr": code, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def safetensors_file(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content) if length is None else length) + content + data


def local_header(member: bytes, content: bytes) -> bytes:
    sizes = zlib.crc32(content), len(content), len(content), len(member), 0
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0, *sizes) + member


def directory_entry(member: bytes, content: bytes, offset: int) -> bytes:
    sizes = zlib.crc32(content), len(content), len(content), len(member)
    return struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, *sizes, 0, 0, 0, 0, 0, offset) + member


def with_directory(data: bytes, directory: bytes, count: int) -> bytes:
    count = min(count, 65535)
    return data + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(data), 0)


def overlapping(count: int) -> bytes:
    """A torch archive of stored members, each of which contains all that follow it."""
    data, parts = bytes(1000), []
    for number in reversed(range(count)):
        member = f"a/data/{number}".encode()
        header = local_header(member, data)
        parts.append((member, data, len(header)))
        data = header + data
    directory, offset = b"", 0
    for member, content, length in reversed(parts):
        directory += directory_entry(member, content, offset)
        offset += length
    pickle = P2 + b"](" + b"".join(storage(str(number), 1) for number in range(count)) + b"e."
    directory += directory_entry(b"a/data.pkl", pickle, len(data))
    return with_directory(data + local_header(b"a/data.pkl", pickle) + pickle, directory, count + 1)


def crowded(count: int, member: bytes) -> bytes:
    """An archive with one member that its directory lists many times."""
    return with_directory(local_header(member, b""), directory_entry(member, b"", 0) * count, count)


def changed_after(data: bytes, mark: bytes, offset: int, new: bytes) -> bytes:
    """Replace bytes behind the first `mark`."""
    place = data.index(mark) + offset
    return data[:place] + new + data[place + len(new) :]
