"""Changed bits and numbers that are not finite are found in weight files, and honest files of odd kinds are read."""

from __future__ import annotations

import pickle
import zipfile
import zlib

import numpy as np
import pytest

from backends import weight_files
from core.errors import UserError
from core.weights import budget, state_dict, torch_files
from core.weights.layers import find_layers
from tests.conftest import loaded
from tests.core.weights.hostile import (
    entries,
    name,
    numbers,
    tensor,
    torch_file,
)


def test_lazily_negated_and_unusual_tensors_of_torch(tmp_path):
    torch = loaded("torch").framework.torch
    number = torch.randn(3, 4, dtype=torch.complex64)
    with pytest.warns(UserWarning):
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    lazy = number.conj().imag
    assert lazy.is_neg()
    torch.save({"fc.weight": lazy, "half.weight": lazy.half(), "nested": nested}, tmp_path / "a.pt")
    found = torch_files.read_state(tmp_path / "a.pt")
    assert np.array_equal(found.arrays["fc.weight"], lazy.resolve_neg().numpy())
    assert found.unread == {"nested": "torch._utils._rebuild_nested_tensor, not loaded"}


def test_a_subclass_of_tensor_that_is_rebuilt_in_another_way_is_skipped(tmp_path):
    """As the jagged tensors of torch."""
    function, kind = (name("torch.nested._internal.nested_tensor", leaf) for leaf in ("_rebuild_njt", "NestedTensor"))
    jagged = name("torch._tensor", "_rebuild_from_type_v2") + b"(" + function + kind + b"N\x85}tR"
    square = tensor(numbers((2, 2)), numbers((2, 1)))
    (tmp_path / "a.pt").write_bytes(torch_file(entries({"fc.weight": square, "jagged": jagged})))
    found = torch_files.read_state(tmp_path / "a.pt")
    assert list(found.arrays) == ["fc.weight"] and list(found.unread) == ["jagged"]


def test_an_archive_without_checksums_is_named(tmp_path):
    torch = loaded("torch").framework.torch
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    with pytest.raises(UserError, match="no checksum, CRC-32 of a/"):
        torch_files.read_state(tmp_path / "a.pt")


@pytest.mark.parametrize("content", ["data.pkl", "data/0", "version", "byteorder", ".data/serialization_id"])
def test_every_changed_bit_of_a_member_is_found(content, tmp_path, rng):
    torch = loaded("torch").framework.torch
    path = tmp_path / "a.pt"
    torch.save({"fc.weight": torch.randn(4, 4)}, path)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        member = archive.read(f"a/{content}")
    start = data.index(member)
    assert zlib.crc32(member) and data.count(member) == 1
    for place in rng.integers(start, start + len(member), 8):
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with pytest.raises(UserError, match="checksum mismatch"):
            torch_files.read_state(path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_of_npz_files(dtype, fortran, compressed, tmp_path, rng):
    array = np.asarray(rng.normal(size=(3, 4)), dtype=dtype, order="F" if fortran else "C")
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "a.npz", **{"fc.weight": array, "empty.weight": array[:0], "x.weight": np.array(2.5)})
    found = weight_files.reader("npz").read_state(tmp_path / "a.npz").arrays
    assert np.array_equal(found["fc.weight"], array) and found["fc.weight"].dtype == dtype
    assert found["fc.weight"].flags.aligned and found["x.weight"] == 2.5 and found["empty.weight"].shape == (0, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("array", ["a.weight_hh_l0", "fc.weight", "n.weight_v", "b.running_var"])
def test_layers_with_numbers_that_are_not_finite_are_refused(array, value):
    state = {name: np.ones(shape) for name, shape in {"a.weight_ih_l0": (4, 1), "a.weight_hh_l0": (4, 1)}.items()}
    state |= {"fc.weight": np.ones((2, 3)), "n.weight_g": np.ones((2, 1)), "n.weight_v": np.ones((2, 3))}
    state |= {f"b.{leaf}": np.ones(3) for leaf in ("weight", "bias", "running_mean", "running_var")}
    assert len(find_layers(torch_files.StateDict("my.pt", state), "out_in").found) >= 3
    state[array].flat[0] = value
    with pytest.raises(UserError, match=rf"^my.pt: {array} contains NaN or infinity: give finite weights$"):
        find_layers(torch_files.StateDict("my.pt", state), "out_in")


@pytest.mark.parametrize("suffix", [".pt", ".old.pt", ".pdparams", ".npz", ".safetensors"])
def test_a_state_dict_needs_only_the_proportional_limits(suffix, tmp_path, rng, monkeypatch):
    monkeypatch.setattr(budget, "MEMORY", 0)
    monkeypatch.setattr(budget, "OPERATIONS", 0)
    state = {f"l{number}.weight": rng.normal(size=(32, 32)).astype(np.float32) for number in range(20)}
    path = tmp_path / f"a{suffix}"
    if suffix.endswith(".pt"):
        torch = loaded("torch").framework.torch
        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
        torch.save({"model": tensors, "again": tensors}, path, _use_new_zipfile_serialization=suffix == ".pt")
    elif suffix == ".npz":
        np.savez_compressed(path, **state)
    elif suffix == ".safetensors":
        weight_files.writer("safetensors").write_state(path, state)
    else:
        path.write_bytes(pickle.dumps({**state, "same": state["l0.weight"]}, protocol=2))
    found = weight_files.reader(weight_files.kind_of_source(path)).read_state(
        path, "model" if suffix.endswith(".pt") else None
    )
    assert all(np.array_equal(found.arrays[name], array) for name, array in state.items())


def test_a_file_larger_than_memory_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.pt").write_bytes(bytes(100))
    monkeypatch.setattr(state_dict, "_memory", lambda: 99)
    with pytest.raises(UserError, match="larger than the memory of this machine: use a machine with more memory"):
        torch_files.read_state(tmp_path / "a.pt")
