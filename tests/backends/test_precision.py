"""dtype bfloat16: what is rounded and how, that nothing else is, and that every way to the numbers gives the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.digit_sum
import tasks.exploding
import tasks.gates
import tasks.imdb
import tasks.parity.__main__
from backends import implementations
from core.analysis.gates import Place, trace
from core.analysis.gradient_flow import state_gradients
from core.batch import pad
from core.data.sources import imdb
from core.engine.executor import Executor
from core.models.encoders.recurrent import CELLS, layer_weights
from core.models.heads.pooled import cross_entropy
from core.models.model import forward, initial_parameters, parameter_table, product_weights
from core.models.precision import exactly, nearest_jump, round_bfloat16, rounding_of
from core.parity import findings
from core.parity.check import run_parity_check
from core.parity.instances import (
    KINK,
    jumps_are_near,
    margin,
    nearest_of_all_jumps,
    random_batch,
    random_parameters,
    well_conditioned,
)
from core.parity.layers import (
    GRADIENT_LIMIT,
    OUTPUT_JUMP,
    OUTPUT_LIMIT,
    Side,
    compare_forward,
    compare_gradients,
    supporting_sides,
)
from core.parity.training import EARLY, MOVED, Comparison
from core.spec.experiment import Experiment, parse_experiment, replace
from core.train.run_folder import RunFolder
from tasks.parity.cases import Case
from tasks.run import gradient_norms
from tasks.run.evaluators import evaluator
from tasks.run.worker import Request
from tests.conftest import (
    INSTALLED,
    each_backend,
    fresh_rng,
    loaded,
    make_dataset,
    make_reviews,
    needs_both,
    run_main,
    stop_at,
)
from tests.pairwise import pairwise
from tests.parity.recorded import hold

IMPLEMENTATIONS = [
    name for name in implementations.IMPLEMENTATIONS if name != "fast" or implementations.why_not_fast("cpu") is None
]
each_implementation = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)

SMALL = {
    "model.embedding.vocab_size": 20,
    "model.embedding.dim": 6,
    "model.encoder.hidden_size": 5,
    "training.dtype": "bfloat16",
}


def small(**changes: object) -> Experiment:
    return replace(Experiment(), {**SMALL, **changes})


def engine_of(name: str, experiment: Experiment, parameters, implementation: str = "loop"):
    return backends.load(name).Engine(
        experiment.model, experiment.training, parameters, Executor("cpu", implementation)
    )


def widest(found: dict, wanted: dict) -> float:
    return findings.widest(found, wanted, None, least_scale=1.0)["value"]


# The rounding

PATTERNS = {
    0x00000000: 0x0000,
    0x80000000: 0x8000,
    0x3F800000: 0x3F80,  # 1
    0x3F807FFF: 0x3F80,  # just below the middle
    0x3F808000: 0x3F80,  # the middle: down to the even one
    0x3F808001: 0x3F81,
    0x3F818000: 0x3F82,  # the middle: up to the even one
    0xBF818000: 0xBF82,
    0x3FFF8000: 0x4000,  # over to the next power of two
    0x3EAAAAAB: 0x3EAB,  # 1/3
    0x00000001: 0x0000,  # denormal, to zero
    0x00008000: 0x0000,
    0x00008001: 0x0001,  # to a denormal
    0x80018000: 0x8002,
    0x007FFFFF: 0x0080,  # to the smallest normal number
    0x7F7F7FFF: 0x7F7F,  # the largest that stays finite
    0x7F7F8000: 0x7F80,  # to infinity
    0xFF7FFFFF: 0xFF80,
    0x7F800000: 0x7F80,
    0xFF800000: 0xFF80,
}
"""float32 bits, and the bfloat16 bits that they are rounded to."""


def some_bits(rng: np.random.Generator) -> np.ndarray:
    """Random ones of every exponent, the middles of two bfloat16 and their neighbours, and those above."""
    middles = (rng.integers(0, 1 << 16, 5000).astype(np.uint32) << np.uint32(16)) + np.uint32(0x8000)
    drawn = rng.integers(0, 1 << 32, 50000, dtype=np.uint64).astype(np.uint32)
    nan = np.array([0x7FC00000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800001], np.uint32)
    return np.concatenate([drawn, middles - 1, middles, middles + 1, np.array([*PATTERNS], np.uint32), nan])


def same_bits(found: np.ndarray, wanted: np.ndarray) -> bool:
    """But for the bits of NaN, of which there are many."""
    assert found.dtype == wanted.dtype == np.float32
    nan = np.isnan(wanted)
    return np.array_equal(np.isnan(found), nan) and np.array_equal(
        found.view(np.uint32)[~nan], wanted.view(np.uint32)[~nan]
    )


def test_the_rounding_of_known_numbers():
    found = round_bfloat16(np.array([*PATTERNS], np.uint32).view(np.float32)).view(np.uint32)
    assert [hex(bits) for bits in found] == [hex(bits << 16) for bits in PATTERNS.values()]
    assert np.isnan(round_bfloat16(np.array([0x7FC00000, 0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32))).all()


def test_rounding_equals_torch(rng):
    torch = loaded("torch").framework.torch
    x = some_bits(rng).view(np.float32)
    assert same_bits(round_bfloat16(x), torch.from_numpy(x).to(torch.bfloat16).float().numpy())


def test_every_backend_rounds_so_and_lets_gradients_through(backend, rng):
    x = some_bits(rng).view(np.float32)
    slopes = rng.normal(size=x.shape).astype(np.float32)
    place = backend.runtime.native_device("cpu")
    tensor, slope = (backend.runtime.to_tensor(array, place) for array in (x, slopes))
    tensor.stop_gradient = False  # Paddle's way
    if hasattr(tensor, "requires_grad_"):
        tensor.requires_grad_()
    found = backend.precision.rounded(tensor, True)
    assert same_bits(backend.runtime.to_numpy(found), round_bfloat16(x))
    assert backend.precision.rounded(tensor, False) is tensor
    found.backward(slope)
    assert np.array_equal(backend.runtime.to_numpy(tensor.grad), slopes)  # by infinity and NaN too, and not rounded
    assert same_bits(backend.runtime.to_numpy(tensor), x)


def test_the_rounding_of_other_kinds_of_numbers(rng):
    x = rng.normal(size=(3, 4))
    found = round_bfloat16(x)
    assert found.dtype == np.float64 and np.array_equal(found, round_bfloat16(x.astype(np.float32)))
    assert 0 < np.abs(found / x - 1).max() <= 2.0**-8 and np.array_equal(round_bfloat16(found), found)
    step = x + 1e-40j * x
    assert np.array_equal(round_bfloat16(step).real, found) and np.array_equal(round_bfloat16(step).imag, step.imag)
    assert np.array_equal(round_bfloat16(np.array([1e300, -1e300])), [np.inf, -np.inf])
    assert np.array_equal(round_bfloat16(x.T), found.T)
    assert rounding_of("bfloat16") is round_bfloat16
    assert [rounding_of(dtype) for dtype in ("float32", "float64", "tf32")] == [exactly] * 3


def test_distance_to_a_jump():
    jump = 2.0**-7  # above 1
    x = np.array([1 + 0.51 * jump, 1.3, -1 - 1.25 * jump]) + 1e-12
    assert nearest_jump(x, 0.0) == pytest.approx(0.01 * jump, rel=1e-6)
    assert nearest_jump(x[2:], 0.0) == pytest.approx(0.25 * jump, rel=1e-6)
    assert nearest_jump(x, 2 * jump) == np.inf
    assert nearest_jump(np.array([1 + 0.5 * jump, 0.0, np.inf, np.nan]), 0.0) == np.inf  # every side reads these
    for value in (x[0], x[1]):  # the rounding jumps there and not before
        away = nearest_jump(np.array([value]), 0.0)
        low, high = (round_bfloat16(np.array([value - away * by, value + away * by])) for by in (0.999, 1.001))
        assert low[0] == low[1] and high[0] != high[1]


def test_rounded_parameters():
    model = small(**{"model.head.hidden_size": 3}).model
    biases = [row.name for row in parameter_table(model) if row.name.rpartition(".")[2].startswith("bias")]
    rounded, rest = product_weights(model), ["embedding.weight", *biases]
    assert len(rounded) == 6 and {*rounded, *rest} == {row.name for row in parameter_table(model)}


# The spec


def test_the_spec():
    experiment = small()
    assert parse_experiment(json.loads(experiment.model_dump_json()), "here") == experiment
    assert experiment.training.dtype == "bfloat16" and experiment.training.array_dtype == "float32"


# Against the reference

CASES = [
    Case("srn", 1, False, "last", "index"),
    Case("srn", 2, True, "max", "one_hot"),
    Case("gru", 1, True, "mean", "index", (("model.head.hidden_size", 4),)),
    Case("gru", 2, False, "last", "one_hot"),
    Case("lstm", 1, True, "max", "index", (("model.head.classes", 2), ("model.head.one_logit", True))),
    Case("lstm", 2, True, "mean", "index", (("model.head.hidden_size", 4), ("model.head.activation", "tanh"))),
    Case("lstm", 1, False, "last", "index", (("model.embedding.trainable", False),)),
    Case("residual_srn", 2, True, "mean", "index", (("model.encoder.biases", "one"),)),
]


def instance(case: Case, rng: np.random.Generator):
    """Random and not near a jump: there every side rounds alike, and is held to float32's limits.

    Of the largest case one draw in seventeen is such.
    """
    experiment = case.experiment("bfloat16")
    draw = lambda: (random_parameters(experiment, rng), random_batch(experiment, rng))  # noqa: E731
    return experiment, *well_conditioned(experiment, draw, draws=500)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_implementations_equal_the_reference(case, rng):
    experiment, parameters, batch = instance(case, rng)
    sides = {f"{name}/{own}": Side(backends.load(name), own) for name in INSTALLED for own in IMPLEMENTATIONS}
    found = compare_forward(experiment, parameters, batch, supporting_sides(sides, experiment))
    found += compare_gradients(experiment, parameters, batch, supporting_sides(sides, experiment))
    hold(found)
    assert {finding.limit for finding in found} == {OUTPUT_LIMIT["float32"], GRADIENT_LIMIT["float32"]}
    # And is something else than float32.
    plain = replace(experiment, {"training.dtype": "float32"})
    for name in INSTALLED:
        engines = [engine_of(name, own, parameters) for own in (experiment, plain)]
        assert widest(*(engine.activations(batch, 0) for engine in engines)) > 50 * OUTPUT_LIMIT["float32"]
        gradients = [engine.gradients(batch, 0)[1] for engine in engines]
        assert findings.widest(*gradients, None)["value"] > 50 * GRADIENT_LIMIT["float32"]


def cut_off(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(x.dtype)


@each_backend
@pytest.mark.parametrize("fault", ["inputs", "first layer", "head", "weights", "head's weights", "cut off", "states"])
def test_ladder_finds_wrong_rounding(name, fault, rng, monkeypatch):
    """On rung 1, in a model of every kind of product."""
    package = backends.load(name)

    class Faulty(package.Engine):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            model = self._model
            wrong = {"inputs": [model.encoder, model.head.output], "first layer": [model.encoder]}
            for layer in {**wrong, "head": [model.head.output]}.get(fault, []):
                layer.rounds = False
            kept = {"weights": 0, "head's weights": -1}.get(fault)
            self.product_weights = self.product_weights[:kept] if kept is not None else self.product_weights

    case = Case("lstm", 1, True, "last", "index")
    experiment, parameters, batch = instance(case, rng)
    side = type("Package", (), {"Engine": Faulty})
    if fault == "cut off":
        cpu = package.runtime.native_device("cpu")
        cutting = lambda x: package.runtime.to_tensor(cut_off(package.runtime.to_numpy(x)), cpu)  # noqa: E731
        monkeypatch.setattr(package.precision, "Rounding", type("Cutting", (), {"apply": staticmethod(cutting)}))
    if fault == "states":
        step, rounded = package.encoders.recurrent_layers.STEPS["lstm"], package.precision.rounded
        reading = lambda x, h, *rest: step(x, rounded(h, True), *rest)  # noqa: E731
        monkeypatch.setitem(package.encoders.recurrent_layers.STEPS, "lstm", reading)
    found = compare_forward(experiment, parameters, batch, {name: Side(side, "loop")})
    assert not found[0].passed and found[0].value > 10 * found[0].limit, found


def test_near_a_jump_more_is_allowed(rng):
    """Which a small model can be drawn without, and a large one not."""
    experiment, parameters, batch = instance(Case("gru", 1, True, "last", "index"), rng)
    assert not jumps_are_near(experiment, parameters, batch)
    assert margin(experiment, parameters, batch) >= KINK
    experiment = small(**{"model.encoder.hidden_size": 300})
    parameters, batch = random_parameters(experiment, rng), random_batch(experiment, rng, 20)
    assert jumps_are_near(experiment, parameters, batch)
    sides = {name: backends.load(name) for name in INSTALLED}
    for finding in compare_forward(experiment, parameters, batch, sides):
        assert finding.limit == OUTPUT_JUMP and finding.passed
    plain = replace(experiment, {"training.dtype": "float32"})
    assert nearest_of_all_jumps(plain, parameters, batch) == np.inf


@needs_both
def test_ladder_in_bfloat16(rng, tmp_path):
    experiment = small(**{"training.batch_size": 8, "training.bucket_batches": 2, "training.epochs": 2})
    data = make_dataset(rng, 40), make_dataset(rng, 30)
    sides = {name: backends.load(name) for name in INSTALLED}
    findings, trained = run_parity_check(Comparison(experiment, *data, sides, 9), 0, tmp_path, lambda *_: None)
    hold(findings)
    assert {finding.rung for finding in findings} == {1, 2, 3, 4, 5} and trained.steps == 9
    for finding in findings:
        assert (finding.limit is None) == (finding.rung in (3, 4) and finding.quantity not in (EARLY, MOVED)), finding


# Master weights


def is_bfloat16(array: np.ndarray) -> bool:
    return np.array_equal(round_bfloat16(array), array)


@each_backend
@each_implementation
def test_small_updates_are_not_lost(name, implementation, rng):
    """Each is far too small for a bfloat16 weight to move; together they are what the gradients add up to."""
    rate = 1e-5
    sgd = {"kind": "sgd", "learning_rate": rate}
    # The sum of losses: some weights have a mean gradient that moves no float32 either.
    experiment = small(**{"training.optimizer": sgd, "training.clip_mode": "none", "training.loss_reduction": "sum"})
    parameters, batch = random_parameters(experiment, rng), make_dataset(rng, 8).batch(np.arange(8))
    engine = engine_of(name, experiment, parameters, implementation)
    sums = {key: np.zeros(array.shape) for key, array in parameters.items()}
    for step in range(20):
        before = engine.parameters()
        gradients = engine.gradients(batch, step)[1]
        engine.train_step(batch, step, rate)
        after = engine.parameters()
        for key, gradient in gradients.items():
            sums[key] -= rate * gradient.astype(np.float64)
            assert after[key].dtype == np.float32
    for key in product_weights(experiment.model):
        moved = after[key].astype(np.float64) - parameters[key]
        assert np.abs(moved).max() > 0 and not is_bfloat16(after[key])
        assert np.abs(moved - sums[key]).max() <= 20 * 2.0**-24 * max(1.0, np.abs(parameters[key]).max()), key
        # What would be left of the last step in weights of 8 bits.
        lost = round_bfloat16(round_bfloat16(before[key]) + (after[key] - before[key])) == round_bfloat16(before[key])
        assert lost.mean() > 0.9


@each_backend
@each_implementation
def test_a_step_of_adam(name, implementation, rng):
    """Moments are float32 and not rounded; with `fast` word vectors are stepped row by row."""
    experiment = small()
    parameters, batch = random_parameters(experiment, rng), make_dataset(rng, 8).batch(np.arange(8))
    engine = engine_of(name, experiment, parameters, implementation)
    gradients = engine.gradients(batch, 0)[1]
    engine.train_step(batch, 0, 0.01)
    moments, after = engine.moments(), engine.parameters()
    assert {array.dtype.name for array in (*moments.values(), *after.values())} == {"float32"}
    norm = np.sqrt(sum(np.square(gradient.astype(np.float64)).sum() for gradient in gradients.values()))
    scale = min(1.0, experiment.training.clip_norm / norm)
    for key, gradient in gradients.items():
        assert np.allclose(moments[f"moment1/{key}"], 0.1 * scale * gradient, rtol=1e-4, atol=1e-9), key
        assert not is_bfloat16(moments[f"moment1/{key}"]) and not is_bfloat16(after[key])


@pairwise(
    name=INSTALLED,
    implementation=IMPLEMENTATIONS,
    where=["forward", "backward"],
    error=[RuntimeError, KeyboardInterrupt],
)
def test_errors_leave_the_master_weights(name, implementation, where, error, rng, monkeypatch):
    experiment = small()
    parameters, batch = random_parameters(experiment, rng), make_dataset(rng, 8).batch(np.arange(8))
    engine = engine_of(name, experiment, parameters, implementation)
    seen = {}

    def fails(*_):
        seen.update(engine.parameters())
        raise error("on purpose")

    with monkeypatch.context() as patch:
        if where == "forward":
            patch.setattr(engine._model.head, "pool", fails)
        else:
            patch.setattr(engine._model.head, "losses", fails)
        for call in (engine.train_step, engine.gradients):
            with pytest.raises(error, match="on purpose"):
                call(*((batch, 0, 0.1) if call == engine.train_step else (batch, 0)))
        if where == "forward":
            for call in (engine.logits, engine.activations):
                with pytest.raises(error, match="on purpose"):
                    call(batch)
    rounded = product_weights(experiment.model)
    for key, array in engine.parameters().items():
        assert np.array_equal(array, parameters[key])
        assert np.array_equal(seen[key], round_bfloat16(array) if key in rounded else array)
    assert np.isfinite(engine.logits(batch)).all()


@each_backend
def test_evaluation_changes_no_master_weights(name, rng):
    experiment = small()
    parameters, batch = random_parameters(experiment, rng), make_dataset(rng, 8).batch(np.arange(8))
    engine = engine_of(name, experiment, parameters)
    first = engine.logits(batch)
    for _ in range(2):
        engine.activations(batch, 3)
        engine.gradients(batch, 0)
    assert np.array_equal(engine.logits(batch), first)
    assert all(np.array_equal(array, parameters[key]) for key, array in engine.parameters().items())
    # The layers' own numbers are float32's.
    assert not any(is_bfloat16(array) for array in engine.activations(batch).values())


@each_backend
@pytest.mark.parametrize("implementation", implementations.SIDE_BY_SIDE)
def test_stacked_models_equal_single_models(name, implementation, rng):
    experiment = small(**{"model.head.hidden_size": 4, "model.encoder.num_layers": 2, "model.encoder.cell": "gru"})
    models = []
    for _ in range(3):
        draw = lambda: (random_parameters(experiment, rng), random_batch(experiment, rng, 4))  # noqa: E731
        models.append(well_conditioned(experiment, draw))
    stacked = {key: np.stack([own[key] for own, _ in models]) for key in models[0][0]}
    together = pad(
        [ids[:length] for _, own in models for ids, length in zip(own.ids, own.lengths, strict=True)],
        {"label": np.concatenate([own.labels for _, own in models])},
    )
    ensemble = backends.load(name).Ensemble(
        experiment.model, experiment.training, [0, 1, 2], stacked, Executor("cpu", implementation)
    )
    logits, (_, gradients) = ensemble.logits(together).reshape(3, 4, -1), ensemble.gradients(together, 0)
    for number, (own, batch) in enumerate(models):
        alone = engine_of(name, experiment, own, implementation)
        assert np.abs(logits[number] - alone.logits(batch)).max() < 2e-6
        mine = {key: array[number] for key, array in gradients.items()}
        assert findings.widest(mine, alone.gradients(batch, 0)[1], None)["value"] < 2e-5
    assert all(np.array_equal(array, stacked[key]) for key, array in ensemble.parameters().items())
    ensemble.train_step(together, 0, 1e-3)
    assert not any(is_bfloat16(array) for key, array in ensemble.parameters().items() if "weight" in key)


# What comparison_steps into a model


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_trace_equals_the_reference(cell, rng):
    experiment = small(**{"model.encoder.cell": cell, "model.encoder.num_layers": 2})
    parameters, ids = random_parameters(experiment, rng), rng.integers(1, 20, 6)
    exact = {name: array.astype(np.float64) for name, array in parameters.items()}
    wanted = forward(experiment.model, exact, pad([ids], {"label": np.zeros(1, np.int64)}), rounded=round_bfloat16)
    for layer in range(2):
        for reverse in (False, True):
            place = Place(layer, reverse)
            found = trace(experiment.model, parameters, ids, place, round_bfloat16)["hidden_state"]
            assert np.abs(found - wanted[f"encoder.l{layer}"][0, :, 5 * reverse : 5 + 5 * reverse]).max() < 1e-14
            assert np.abs(found - trace(experiment.model, parameters, ids, place)["hidden_state"]).max() > 1e-5


@each_backend
@pytest.mark.parametrize("cell", ["srn", "lstm"])
def test_state_gradients(name, cell, rng):
    """dL/dh_t against the complex step, in float64: there no number falls on another side."""
    changes = {"model.encoder.cell": cell, "model.encoder.bidirectional": False, "model.head.pooling": "last"}
    experiment = small(**changes, **{"training.dtype": "float64"})
    model, parameters = experiment.model, random_parameters(experiment, rng)
    batch = pad([rng.integers(1, 20, 4) for _ in range(2)], {"label": rng.integers(0, 2, 2)})
    (weights,) = layer_weights(model.encoder, parameters, 0, round_bfloat16)

    def loss(row: int, t: int, unit: int) -> complex:
        x = round_bfloat16(parameters["embedding.weight"][batch.ids[row]])
        h, c = np.zeros((1, 5), np.complex128), np.zeros((1, 5), np.complex128)
        for step in range(4):
            h, c = CELLS[cell](x[step : step + 1], h, c, weights)
            h = h.copy()
            h[0, unit] += 1e-30j * (step == t)
        logits = round_bfloat16(h) @ round_bfloat16(parameters["head.weight"]).T + parameters["head.bias"]
        return cross_entropy(logits, batch.labels[row : row + 1], "mean")

    package, executor = backends.load(name), Executor("cpu", "loop")
    found = state_gradients(package, executor, replace(experiment, {"training.dtype": "bfloat16"}), parameters, batch)[
        "h"
    ]
    for row, t in np.ndindex(found.shape):
        wanted = np.linalg.norm([loss(row, t, unit).imag / 1e-30 for unit in range(5)])
        assert found[row, t] == pytest.approx(wanted, rel=1e-11), (row, t)
    plain = state_gradients(package, executor, experiment, parameters, batch)["h"]
    assert np.abs(plain / found - 1).max() > 1e-5


# Through the programs

TINY = ("--hidden", 6, "--embedding-dim", 6, "--epochs", 2, "--batch-size", 8, "--lr", 0.03, "--dtype", "bfloat16")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Reviews, and the spec's own tokens in a cache."""
    root = tmp_path_factory.mktemp("bfloat16")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imdb, "PER_CLASS", 20)
        yield make_reviews(root / "data", fresh_rng(), 20), root / "cache"


def train(place, name: str, out: Path):
    data, cache = place
    argv = ("--backend", name, "--data", data, "--cache-dir", cache, "--device", "cpu", "--out", out)
    return run_main(tasks.imdb.main, *argv, *TINY)


@pytest.mark.slow
@each_backend
def test_run_predict_evaluate_and_gates(name, place, tmp_path):
    cache, run = place[1], tmp_path / "run"
    with stop_at(5):
        assert train(place, name, run).code == 130
    other = INSTALLED[INSTALLED.index(name) - 1]  # the other framework, where there is one
    resumed = run_main(tasks.imdb.main, "--resume", run, "--backend", other, "--cache-dir", cache, "--device", "cpu")
    assert resumed.code == 0, resumed.err
    folder = RunFolder.open(run)
    experiment, _ = folder.read_record()
    assert experiment.training.dtype == "bfloat16"
    best = folder.read_best(experiment.model)
    assert {array.dtype.name for array in best.values()} == {"float32"}
    assert not any(is_bfloat16(best[key]) for key in product_weights(experiment.model))

    # Everything that answers rounds.
    batch = make_dataset(fresh_rng(), 8, experiment.model.embedding.vocab_size).batch(np.arange(8))
    exact = {key: array.astype(np.float64) for key, array in best.items()}
    rounded, plain = (
        forward(experiment.model, exact, batch, rounded=own)["logits"] for own in (round_bfloat16, exactly)
    )
    numpy = evaluator(folder, experiment, Request("numpy")).engine
    assert np.array_equal(numpy.logits(batch), rounded) and np.abs(rounded - plain).max() > 1e-6
    for own in INSTALLED:
        engine = evaluator(folder, experiment, Request(own, "cpu")).engine
        assert engine.training.dtype == "bfloat16" and len(engine.product_weights) == 5
        assert np.abs(engine.logits(batch) - rounded).max() < 2e-3
    text = "a wonderful film and awful !"
    says = {own: run_main(tasks.imdb.main, "predict", run, text, "--backend", own) for own in ("numpy", *INSTALLED)}
    assert {done.code for done in says.values()} == {0}
    certain = [float(done.out.split("\t")[1]) for done in says.values()]
    assert max(certain) - min(certain) < 2e-3
    assert run_main(tasks.imdb.main, "predict", run, text, "--explain").code == 0
    for own in INSTALLED:
        done = run_main(tasks.imdb.main, "evaluate", run, "--backend", own, "--cache-dir", cache, "--device", "cpu")
        assert done.code == 0 and "predictions match predictions.csv" in done.out, done.err

    # Gates are those of the rounded model.
    done = run_main(tasks.gates.main, run, "--text", text, "--out", tmp_path / "gates.png")
    assert done.code == 0, done.err
    tree = json.loads((tmp_path / "gates.json").read_text())
    own = trace(experiment.model, best, np.array(tree["ids"]), rounded=round_bfloat16)
    assert all(np.allclose(tree["values"][key], array, rtol=0, atol=1e-15) for key, array in own.items())
    one = pad([np.array(tree["ids"])], {"label": np.zeros(1, np.int64)})
    wanted = forward(experiment.model, exact, one, rounded=round_bfloat16)["logits"][0]
    shares = np.exp(wanted - wanted.max())
    assert np.allclose(tree["probabilities"], shares / shares.sum(), rtol=0, atol=1e-12)


@each_backend
def test_models_of_digits(name, tmp_path):
    run = tmp_path / "digits"
    argv = ("--backend", name, "--cell", "lstm", "--lengths", 3, "--seeds", 0, 1, "--epochs", 1, "--device", "cpu")
    done = run_main(tasks.digit_sum.main, *argv, "--dtype", "bfloat16", "--out", run)
    assert done.code == 0, done.err
    assert "bfloat16" in done.out
    folder = RunFolder.open(run / "lstm" / "L3-seed1")
    experiment, _ = folder.read_record()
    best = folder.read_best(experiment.model)
    assert experiment.training.dtype == "bfloat16" and not any(
        is_bfloat16(best[key]) for key in product_weights(experiment.model)
    )
    start = initial_parameters(experiment.model, experiment.training.seed, "float32")
    assert any(not np.array_equal(best[key], start[key]) for key in start)


@pytest.mark.slow
@each_backend
def test_exploding_gradients(name, tmp_path, monkeypatch):
    asked = []
    norms = gradient_norms.state_gradients
    monkeypatch.setattr(gradient_norms, "state_gradients", lambda *found: asked.append(found[2]) or norms(*found))
    argv = ("--backend", name, "--length", 4, "--seeds", 0, "--epochs", 1, "--vanishing-epochs", 1, "--device", "cpu")
    done = run_main(tasks.exploding.main, *argv, "--dtype", "bfloat16", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert len(asked) == 6 and all(experiment.training.dtype == "bfloat16" for experiment in asked)


def test_help_lists_bfloat16(capsys):
    for program in (tasks.imdb, tasks.parity.__main__, tasks.digit_sum, tasks.exploding):
        with pytest.raises(SystemExit):
            program.main(["--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert "{float32,float64,tf32,bfloat16} training precision" in text
