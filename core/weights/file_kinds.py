"""Kind of a weight file by its first bytes, whatever its name."""

from __future__ import annotations

from pathlib import Path

from core.errors import UserError
from core.weights.torch_files import MAGIC
from core.zip_directory import read_members

_PADDLE_TABLE = b"StructuredToParameterName@@"
_FOREIGN = {b"\x89HDF": "an HDF5 file", b"\x1f\x8b": "a gzip file", b"GGUF": "a GGUF file", b"BZh": "a bzip2 file"}
_GRAPHS = {".onnx": "an ONNX model", ".pdiparams": "weights of a Paddle inference model", ".pdmodel": "a Paddle graph"}
_PADDLE_SUFFIXES = (".pdparams", ".pdopt")


def kind_of_content(path: str | Path) -> str | None:
    """Return `torch`, `paddle`, `safetensors`, `npz` or `pickle`; None if the first bytes do not tell.

    Raises UserError, naming what it is, for a file that holds no state dict.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check the path") from None
    if head.startswith(MAGIC):
        return "torch"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32:
        return "safetensors"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_zip(Path(path))
    for start, what in _FOREIGN.items():
        if head.startswith(start):
            raise UserError(f"{path}: {what}, expected a state dict: unpack it, or save model.state_dict()")
    if head[257:262] == b"ustar":
        raise UserError(f"{path}: a tar archive, expected a state dict: unpack it, or save model.state_dict()")
    graph = _GRAPHS.get(Path(path).suffix.lower())
    if graph is not None:
        raise UserError(f"{path}: {graph}, expected a state dict: save the model's state_dict()")
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        own = Path(path).suffix.lower() in _PADDLE_SUFFIXES or _PADDLE_TABLE in Path(path).read_bytes()
        return "paddle" if own else "pickle"
    return None


def _kind_of_zip(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            names = [member.name for member in read_members(file)]
    except (OSError, ValueError):
        return "npz" if path.suffix.lower() == ".npz" else None
    if not names:
        raise UserError(f"{path}: an empty zip archive, expected a state dict: save model.state_dict()")
    inner = {name.partition("/")[2] for name in names}
    if "data.pkl" in inner:
        return "torch"
    if {"archive_format", "serialized_exported_program.json", "serialized_state_dict.pt"} & (inner | set(names)):
        raise UserError(f"{path}: a torch.export archive, expected a state dict: save model.state_dict()")
    if all(name.endswith(".npy") for name in names):
        return "npz"
    return None
