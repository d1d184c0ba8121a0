"""Weight files are read by their content; objects beside the weights are named, not run."""

from __future__ import annotations

import argparse
import datetime
import enum
import gzip
import pickle
import tarfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest

from backends import weight_files
from core.weights import torch_files
from core.weights.convert import convert
from tests.conftest import loaded
from tests.core.weights.test_convert import call, quick, refused, spec, state_of, write_pdparams

__all__ = ["quick"]


class Color(enum.Enum):
    RED = 1


def torch_and_state(rng, dtype="float32"):
    torch = loaded("torch").framework.torch
    return torch, {name: torch.from_numpy(array) for name, array in state_of(spec(), rng, dtype=dtype).items()}


def same(path: Path, state: dict) -> bool:
    found = weight_files.reader(weight_files.kind_of_source(path)).read_state(path).arrays
    return found.keys() == state.keys() and all(np.array_equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("name", ["a.pth.tar", "a.ckpt", "a.bin", "a", "a.pdparams", "a.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_of_any_name(name, zipped, tmp_path, rng):
    torch, state = torch_and_state(rng)
    torch.save(state, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert weight_files.kind_of_source(tmp_path / name) == "torch" and same(tmp_path / name, state)


def test_other_files_of_any_name(tmp_path, rng):
    state = state_of(spec(), rng)
    weight_files.writer("safetensors").write_state(tmp_path / "a.ckpt", state)
    np.savez_compressed(tmp_path / "b.npz", **state)
    (tmp_path / "b.npz").rename(tmp_path / "b.bin")
    write_pdparams(tmp_path / "c", {**state, "StructuredToParameterName@@": {}})
    write_pdparams(tmp_path / "d.pkl", state)
    for name, kind in (("a.ckpt", "safetensors"), ("b.bin", "npz"), ("c", "paddle"), ("d.pkl", "pickle")):
        assert weight_files.kind_of_source(tmp_path / name) == kind and same(tmp_path / name, state)


def test_views_shared_storages_and_odd_types_of_torch(tmp_path, rng):
    torch, state = torch_and_state(rng)
    base = torch.randn(40, dtype=torch.float64)
    more = {
        "transposed": torch.arange(12.0).reshape(3, 4).T,
        "slice": base[3:11:2],
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base[5:9].reshape(2, 2)),
        "half": torch.arange(3).to(torch.bfloat16),
        "counts": torch.arange(3),
        "complex": torch.zeros(2, dtype=torch.complex64),
    }
    for zipped in (True, False):
        if not zipped:
            del more["complex"]
        torch.save({**state, **more}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
        found = torch_files.read_state(tmp_path / "a.pt")
        for name in ("transposed", "slice", "scalar", "empty", "parameter", "half"):
            wanted = more[name].detach()
            assert np.array_equal(found.arrays[name], (wanted.float() if name == "half" else wanted).numpy()), name
        odd = {"complex": "tensor of ComplexFloatStorage [2], not read"} if zipped else {}
        assert found.unread == {"counts": "int64 [3]", **odd}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("framework", ["torch", "pickle"])
def test_objects_beside_the_weights_are_skipped_and_named(framework, protocol, tmp_path, rng):
    state = state_of(spec(), rng, dtype="float32")
    objects = {
        "args": argparse.Namespace(lr=0.1, nested={"a": [1]}),
        "best": np.float64(0.5),
        "random": np.random.default_rng(1).bit_generator.state,
        "generator": np.random.default_rng(1),
        "legacy": np.random.RandomState(1),
        "color": Color.RED,
        "by color": {Color.RED: 1},
        "when": datetime.datetime(2024, 1, 2),
        "path": Path("x"),
        "counts": defaultdict(int, {"a": 1}),
    }
    path = tmp_path / "a.ckpt"
    if framework == "torch":
        torch, state = torch_and_state(rng)
        objects["loss"] = torch.nn.CrossEntropyLoss(weight=torch.ones(2))
        objects["device"] = torch.device("cpu")
        torch.save({"net": state, **objects}, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps({"net": OrderedDict(state), **objects}, protocol=protocol))
    found = weight_files.reader(weight_files.kind_of_source(path)).read_state(path)
    assert all(np.array_equal(found.arrays[name], state[name]) for name in state)
    assert found.skipped.keys() == objects.keys()
    assert found.skipped["args"] == "argparse.Namespace, not loaded"
    assert found.skipped["when"] == "datetime.datetime, not loaded" and "Color, not loaded" in found.skipped["color"]


def test_a_checkpoint_with_an_optimizer(tmp_path, rng, quick):
    torch, state = torch_and_state(rng)
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tree = {
        "model": {f"module.model.{name}": array for name, array in state.items()},
        "optimizer": optimizer.state_dict(),
    }
    torch.save({**tree, "trainer": optimizer}, tmp_path / "a.pth.tar")
    done = call(
        tmp_path / "a.pth.tar", "--to", "safetensors", "--linear", "in_out", "--out", tmp_path / "a.safetensors"
    )
    assert done.code == 0, done
    for line in (
        "prefix module. removed",
        "prefix model. removed",
        "optimizer: dict of 2",
        "trainer: torch.optim.adam.Adam, not",
    ):
        assert line in done.out


def test_whole_modules_and_archives_are_named(tmp_path):
    torch = loaded("torch").framework.torch
    out = tmp_path / "out.safetensors"

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.rnn = torch.nn.Embedding(9, 3), torch.nn.GRU(3, 4, batch_first=True)
            self.fc = torch.nn.Linear(4, 2)

        def forward(self, ids):
            return self.fc(self.rnn(self.emb(ids))[0].mean(1))

    for tree in (torch.nn.Linear(2, 2), {"net": torch.nn.Linear(2, 2)}):
        torch.save(tree, tmp_path / "a.pt")
        message = refused(tmp_path / "a.pt", "--to", "safetensors", "--out", out)
        assert "a pickled module, torch.nn.modules.linear.Linear" in message and "save model.state_dict()" in message
    model = Own()
    traced = torch.jit.trace(model, torch.ones(2, 3, dtype=torch.long))
    torch.jit.save(traced, tmp_path / "b.pt")
    found = torch_files.read_state(tmp_path / "b.pt")
    assert found.notes == ("TorchScript archive: only its weights are read",)
    assert all(np.array_equal(found.arrays[name], tensor) for name, tensor in model.state_dict().items())
    with gzip.open(tmp_path / "c.pt", "wb") as file:
        file.write(b"x")
    with tarfile.open(tmp_path / "d.pth.tar", "w") as archive:
        archive.add(tmp_path / "b.pt", "b.pt")
    (tmp_path / "e.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    for name, what in (("c.pt", "a gzip file"), ("d.pth.tar", "a tar archive"), ("e.h5", "an HDF5 file")):
        assert f"{what}, expected a state dict" in refused(tmp_path / name, "--to", "safetensors", "--out", out)


@pytest.mark.slow
def test_an_export_is_named(tmp_path):
    torch = loaded("torch").framework.torch
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), tmp_path / "a.pt2")
    assert "a torch.export archive" in refused(
        tmp_path / "a.pt2", "--to", "safetensors", "--out", tmp_path / "b.safetensors"
    )


def test_cells_in_a_loop_of_the_user(rng):
    torch = loaded("torch").framework.torch
    for cell, number in ((torch.nn.LSTMCell, 4), (torch.nn.GRUCell, 3), (torch.nn.RNNCell, 1)):
        state = {f"cell.{name}": tensor.numpy() for name, tensor in cell(3, 5).state_dict().items()}
        state["emb.weight"], state["fc.weight"] = np.zeros((7, 3), np.float32), np.zeros((2, 5), np.float32)
        port = convert(torch_files.StateDict("my.pt", state), "out_in")
        assert np.array_equal(port.arrays["encoder.weight_hh_l0"], state["cell.weight_hh"])
        assert len(port.arrays["encoder.bias_ih_l0"]) == 5 * number
        assert any(line.startswith("cell is a cell that runs over each text") for line in port.assumed)
