"""The worked examples of docs/twin.md: released models in PyTorch, and their twins in PaddlePaddle."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from core.twin.inputs import parse_inputs
from tests.conftest import ROOT, needs_both

pytestmark = needs_both
torch = pytest.importorskip("torch")
paddle = pytest.importorskip("paddle")

from backends.twin import compare  # noqa: E402
from tests.twin.weights import randomize_torch  # noqa: E402


@dataclass(frozen=True)
class Example:
    """A folder of `examples/twin`."""

    name: str
    package: str
    model: str
    inputs: tuple[str, ...]

    def module(self, file: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            f"{self.name}_{file}", ROOT / "examples" / "twin" / self.name / f"{file}.py"
        )
        assert spec is not None and spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    def drawn(self, seed: int) -> dict[str, np.ndarray]:
        return parse_inputs(list(self.inputs), seed)


EXAMPLES = {
    own.name: own
    for own in (
        Example("g2pm", "g2pM", "Polyphones", ("ids=int[4,9]:1..5397", "lengths=lengths[4]:9")),
        Example(
            "g2p_en",
            "g2p_en",
            "Pronunciation",
            ("letters=int[4,9]:29", "lengths=lengths[4]:9", "phonemes=int[4,7]:74"),
        ),
        Example("resemblyzer", "resemblyzer", "VoiceEncoder", ("mels=float[3,6,40]",)),
        Example("silero_vad", "silero_vad", "Detector", ("audio=float[3,576]", "state=float[2,3,128]")),
    )
}
each_example = pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)


def seed_of(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 30))


def converted(example: Example, first: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the Paddle model with the values of the PyTorch model by the example's own conversion, and these."""
    module = example.module("paddle_model")
    arrays = module.from_torch({name: own.detach().numpy() for name, own in first.state_dict().items()})
    second = getattr(module, example.model)()
    _, unexpected = second.set_state_dict({name: paddle.to_tensor(own) for name, own in arrays.items()})
    assert not unexpected
    return second, arrays


@each_example
def test_pair_with_random_weights_is_the_same(example, rng):
    first = getattr(example.module("torch_model"), example.model)()
    randomize_torch(first, rng)
    second, _ = converted(example, first)
    found = compare(first, second, example.drawn(seed_of(rng)), to=None, seed=seed_of(rng))
    found.assert_same()
    assert {own.rung for own in found.findings} == {0, 1, 2}


def test_gates_in_another_order_are_found(rng):
    example = EXAMPLES["g2p_en"]
    first = example.module("torch_model").Pronunciation()
    second, arrays = converted(example, first)
    for name, array in arrays.items():
        if name.startswith("speaker."):
            r, z, n = np.split(array, 3)
            arrays[name] = np.concatenate([z, r, n])
    second.set_state_dict({name: paddle.to_tensor(own) for name, own in arrays.items()})
    found = compare(first, second, example.drawn(seed_of(rng)), to=None, modes=("evaluation",))
    assert found.first is not None and found.first.rung == 0
    assert "gates in the order z r n, not r z n" in found.sentence()


@pytest.mark.slow
@each_example
def test_pair_with_the_weights_of_the_package_is_the_same(example, rng):
    if find_spec(example.package) is None:
        pytest.skip(f"{example.package} is not installed")
    first = example.module("torch_model").pretrained()
    second, _ = converted(example, first)
    compare(first, second, example.drawn(seed_of(rng)), to=None, seed=seed_of(rng)).assert_same()
    if example.name == "g2pm":
        check_against_g2pm(first.eval(), rng)
    if example.name == "silero_vad":
        check_against_silero_vad(first.eval(), example.drawn(seed_of(rng)))


def check_against_g2pm(model: Any, rng: np.random.Generator) -> None:
    """The package computes with NumPy."""
    from g2pM import G2pM

    ids = rng.integers(1, 5398, (3, 8))
    own = [G2pM().predict(row[None].astype(np.int32), list(range(8))) for row in ids]
    with torch.no_grad():
        logits = model(torch.from_numpy(ids), torch.full((3,), 8))
    assert np.array_equal(np.stack(own), logits.argmax(-1).numpy())


def check_against_silero_vad(model: Any, inputs: dict[str, np.ndarray]) -> None:
    """The package has compiled code."""
    folder = find_spec("silero_vad").submodule_search_locations[0]
    compiled = torch.jit.load(f"{folder}/data/silero_vad.jit", map_location="cpu")._model.eval()
    tensors = [torch.from_numpy(own).float() for own in inputs.values()]
    with torch.no_grad():
        for own, other in zip(model(*tensors), compiled(*tensors), strict=True):
            assert torch.allclose(own, other, atol=1e-6)


def test_examples_import_nothing_but_their_framework():
    """So that a page of the documentation shows all that is needed."""
    allowed = {"torch", "paddle", "numpy", *sys.stdlib_module_names}
    for path in sorted((ROOT / "examples").rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 100, path
        imported = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
        assert imported <= allowed, path
