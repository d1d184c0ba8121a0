"""The textbook's experiments: data, training of many models in one run folder, exploding and vanishing gradients."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import backends
from backends import implementations
from core.analysis.gradient_flow import powers, state_gradients
from core.batch import pad
from core.data.sources import digit_sums
from core.data.sources.digit_sums import BOOK_LENGTHS
from core.engine.executor import Executor
from core.engine.reference import ReferenceEngine
from core.errors import UserError
from core.models.embedding import FIRST_DIGIT
from core.models.encoders.recurrent import CELLS, WEIGHT_KINDS
from core.models.heads.pooled import cross_entropy
from core.parity.instances import random_parameters
from core.spec.data import DigitSums
from core.spec.experiment import Experiment, replace
from core.train.run_folder import RunFolder
from tasks import digit_sum as digit_sum_program
from tasks import exploding as exploding_program
from tasks import imdb
from tasks.cli.console import run_program
from tasks.cli.recipes import digit_sum, exploding
from tasks.run.worker import Request, Worker
from tests.conftest import INSTALLED, each_backend, one_line
from tests.pairwise import SAMPLE

ROOT = Path(__file__).parents[2]
TINY = ("--lengths", "5", "8", "--seeds", "3", "11", "--epochs", "6", "--eval-interval", "40")
STEPS = 6 * 38


def call(capsys, program, *arguments: object) -> tuple[int, str, str]:
    code = run_program(program.main, [str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, program, *arguments: object) -> str:
    """The one line of an error, with exit code 2."""
    code, out, err = call(capsys, program, *arguments)
    assert code == 2 and "Traceback" not in err, (out, err)
    assert len(err.strip().splitlines()) == 1, err
    return err


# ---- data


def test_digits_equal_those_of_the_book():
    """Drawn again here as the book's program does: one seeded global generator for all lengths in order."""
    state = np.random.get_state()
    try:
        np.random.seed(0)
        for length in BOOK_LENGTHS:
            found = digit_sums.draw(DigitSums(length=length))
            for part, copies in (("train", 3), ("dev", 1), ("test", 1)):
                rows, labels = [], []
                for first in range(10):
                    for second in range(10):
                        for _ in range(copies):
                            row = [first, second] + [0] * (length - 2)
                            place = np.random.randint(2, length)
                            row[place] = np.random.randint(0, 10)
                            rows.append(row)
                            labels.append(first + second)
                assert found[part][0].tolist() == rows and found[part][1].tolist() == labels, (length, part)
    finally:
        np.random.set_state(state)


def test_other_lengths_copies_and_seeds(rng):
    seed = int(rng.integers(2**32))
    for length in (3, 12, 20):
        found = digit_sums.draw(DigitSums(length=length, copies=2, seed=seed))
        assert {part: len(labels) for part, (_, labels) in found.items()} == {"train": 200, "dev": 100, "test": 100}
        for rows, labels in found.values():
            assert rows.shape[1] == length and (rows[:, 0] + rows[:, 1] == labels).all()
            assert (np.count_nonzero(rows[:, 2:], axis=1) <= 1).all() and rows.min() >= 0 and rows.max() <= 9
        again = digit_sums.draw(DigitSums(length=length, copies=2, seed=seed))
        assert all((found[part][0] == again[part][0]).all() for part in found)
    assert (
        digit_sums.draw(DigitSums(length=20, seed=seed))["dev"][0] != digit_sums.draw(DigitSums(length=20))["dev"][0]
    ).any()


def test_prepared_digits_are_a_text_task():
    prepared = digit_sums.prepare(DigitSums(length=5))
    assert prepared.vocabulary.tokens[FIRST_DIGIT:] == list("0123456789")
    rows, labels = digit_sums.draw(DigitSums(length=5))["train"]
    batch = prepared.train.batch(np.array([7, 290]))
    assert (batch.ids - FIRST_DIGIT == rows[[7, 290]]).all() and (batch.labels == labels[[7, 290]]).all()
    assert prepared.vocabulary.counts[FIRST_DIGIT:] == np.bincount(rows.reshape(-1), minlength=10).tolist()


def test_the_recipe_starts_like_the_book_s_layers():
    """Glorot's bounds for the book's shapes, PAD and UNK not counted; zero biases, one of them trained."""
    from core.models.model import initial_parameters, parameter_table

    spec = digit_sum(**{"model.encoder.cell": "lstm"})
    found = initial_parameters(spec.model, 5, "float64")
    bounds = {"embedding.weight": 6 / (10 + 32), "encoder.weight_ih_l0": 6 / 64, "head.weight": 6 / (32 + 19)}
    for name, square in bounds.items():
        assert 0.9 * square**0.5 < np.abs(found[name]).max() <= square**0.5, name
    assert not any(array.any() for name, array in found.items() if "bias" in name)
    assert [row.name for row in parameter_table(spec.model) if not row.trainable] == ["encoder.bias_hh_l0"]


# ---- digit_sum


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A small run of two cells by each framework: folder by name."""
    found = {}
    for name in INSTALLED:
        found[name] = tmp_path_factory.mktemp(name) / "run"
        arguments = ["--backend", name, "--cell", "lstm", "residual_srn", *TINY, "--out", str(found[name])]
        assert run_program(digit_sum_program.main, arguments) == 0
    return found


@pytest.mark.slow
@each_backend
def test_run_is_complete_and_each_model_has_a_run_folder(name, tiny_run, capsys):
    folder = tiny_run[name]
    results = json.loads((folder / "results.json").read_text())
    assert results["backend"] == name and set(results["implementation"].values()) == {"fast"}
    assert [(row["cell"], row["length"]) for row in results["rows"]] == [
        (cell, length) for cell in ("lstm", "residual_srn") for length in (5, 8)
    ]
    for picture in ("accuracy.png", "loss-lstm.png", "loss-residual_srn.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    for row in results["rows"]:
        for number, seed in enumerate((3, 11)):
            own = RunFolder(folder / row["cell"] / f"L{row['length']}-seed{seed}")
            experiment, execution = own.read_record()
            assert (experiment.data.length, experiment.training.seed) == (row["length"], seed)
            assert experiment.model.encoder.cell == row["cell"] and execution["backend"] == name
            lines = own.read_metrics()
            dev = [line for line in lines if line["split"] == "dev"]
            assert [line["step"] for line in dev] == [40, 80, 120, 160, 200, STEPS]
            assert max(line["accuracy"] for line in dev) == own.read_result()["dev"]["accuracy"] == row["dev"][number]
            # The best values, alone, in NumPy: the accuracies of the table.
            prepared = digit_sums.prepare(experiment.data)
            engine = ReferenceEngine(experiment.model, own.read_best(experiment.model))
            for part, wanted in (("dev", row["dev"][number]), ("test", row["test"][number])):
                dataset = getattr(prepared, part)
                logits = engine.logits(dataset.batch(np.arange(100)))
                assert (logits.argmax(axis=1) == dataset.labels).mean() == wanted, part
            assert len(own.read_predictions()) == 100


@each_backend
def test_stacked_models_learn_like_single_models(name, tiny_run):
    """The loop of one model, from the spec in its run folder: the same looks at dev."""
    from core.models.model import initial_parameters
    from core.train.metrics import evaluate
    from core.train.steps import steps_from

    own = RunFolder(tiny_run[name] / "lstm" / "L8-seed11")
    experiment, _ = own.read_record()
    prepared = digit_sums.prepare(experiment.data)
    values = initial_parameters(experiment.model, 11, "float32")
    engine = backends.load(name).Engine(experiment.model, experiment.training, values, Executor("cpu", "loop"))
    dev = [line for line in own.read_metrics() if line["split"] == "dev"]
    for step, batch, rate in steps_from(experiment, prepared.train):
        engine.train_step(batch, step, rate)
        if step + 1 == 80:
            break
    found = evaluate(engine, experiment.model.head, prepared.dev)
    assert found.loss == pytest.approx(dev[1]["loss"], rel=2e-4)


@pytest.mark.slow
def test_both_frameworks_train_equally(capsys, tmp_path):
    """200 steps in float64, every seed and length: the losses part by rounding only."""
    if len(INSTALLED) < 2:
        pytest.skip("compares two frameworks, and one is installed")
    out = tmp_path / "agreement.json"
    cells = ("srn", "gru", "lstm", "residual_srn")
    arguments = ("--agreement", "--cell", *cells, "--lengths", 5, 12, "--seeds", 0, 1, 2, 3, "--out", out)
    code, shown, _ = call(capsys, digit_sum_program, *arguments)
    found = json.loads(out.read_text())["largest_difference_of_the_loss"]
    assert code == 0 and found.keys() == set(cells) and "srn" in shown
    for cell, by_seed in found.items():
        assert by_seed.keys() == {"0", "1", "2", "3"}
        assert 0 < max(by_seed.values()) < 1e-9, cell


@pytest.mark.slow
@each_backend
def test_resume_in_the_other_framework_after_ctrl_c(name, tiny_run, tmp_path, capsys):
    """Ctrl-C to a program at work, then --resume by the other: the table and the curves of a run never stopped."""
    other = next((entry for entry in INSTALLED if entry != name), name)
    folder = tmp_path / "run"
    options = ["--backend", name, "--cell", "lstm", "residual_srn", *TINY, "--dtype", "float64", "--out", str(folder)]
    child = subprocess.Popen(
        [sys.executable, "-m", "tasks.digit_sum", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job would have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    metrics = folder / "lstm" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while child.poll() is None and not metrics.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130 and "checkpoint saved" in out, out + err
    assert not (folder / "results.json").exists()
    code, out, _ = call(capsys, digit_sum_program, "--resume", folder, "--backend", other)
    assert code == 0, out
    whole = tmp_path / "whole"
    assert call(capsys, digit_sum_program, *options[:-1], whole)[0] == 0
    execution = RunFolder(folder / "lstm" / "L5-seed3").read_record()[1]
    assert [segment["backend"] for segment in execution["segments"]] == [name, other]
    assert execution["segments"][0]["from_step"] == 0 < execution["segments"][1]["from_step"]
    one, two = (json.loads((path / "results.json").read_text())["rows"] for path in (folder, whole))
    assert one == two
    for cell in ("lstm", "residual_srn"):
        mine, theirs = (RunFolder(path / cell).read_metrics() for path in (folder, whole))
        assert [(line["run"], line["step"], line["split"]) for line in mine] == [
            (line["run"], line["step"], line["split"]) for line in theirs
        ]
        assert np.allclose([line["loss"] for line in mine], [line["loss"] for line in theirs], rtol=1e-9, atol=0)
    assert "finished" in refused(capsys, digit_sum_program, "--resume", folder)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--lengths", "2"), "--lengths 2: expected at least 3"),
        (("--lengths", "10", "10"), "--lengths 10 10: duplicate value; give each once"),
        (("--k", "0"), "--k 0: expected at least 1"),
        (("--cell", "rnn"), "--cell rnn: choose one or more of srn, gru, lstm, residual_srn"),
        (("--cell", "srn", "srn"), "--cell srn srn: duplicate value; give each once"),
        (("--seeds", "-1"), "--seeds -1"),
        (("--data-seed", "old"), "--data-seed old"),
        (("--impl", "builtin"), "--impl builtin: built-in layers do not support ensemble training"),
        (("--set", "training.patience=3"), "training.patience 3"),
        (("--set", "data.length=2"), "data.length"),
        (("--set", "model.encoder.cell=gru", "--cell", "srn"), "--set: task and model.encoder.cell"),
        (("--backend", "jax"), "unknown backend 'jax'"),
        (("--agreement", "--backend", "torch"), "--agreement compares all backends"),
        (("--resume", "nowhere"), "nowhere: no such run folder"),
        (("--resume", "nowhere", "--seeds", "1", "--k", "2"), "omit --seeds, --k"),
        (("--epochs", "0"), "epochs"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, digit_sum_program, *arguments)
    assert not list(tmp_path.iterdir())


def test_damaged_and_foreign_files_are_refused(tiny_run, capsys, tmp_path):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(tiny_run[INSTALLED[0]], folder)
    (folder / "results.json").unlink()
    (folder / "lstm" / "L5-seed3" / "result.json").unlink()
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "seeds": [3, 11, 4], "digest": None}))
    assert "use the checkpoint of this run" in refused(capsys, digit_sum_program, "--resume", folder)
    (folder / "plan.json").write_text(json.dumps({"lengths": [5]}))
    assert "not a valid digit-sum plan" in refused(capsys, digit_sum_program, "--resume", folder)
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "lstm" / "last.safetensors").write_bytes(b"nothing of the kind")
    assert "damaged or not a checkpoint" in refused(capsys, digit_sum_program, "--resume", folder)
    assert "exists" in refused(capsys, digit_sum_program, *TINY, "--out", folder)
    # A spec of this task is not one of reviews.
    record = folder / "lstm" / "L8-seed3" / "experiment.json"
    assert "task digit_sum" in refused(capsys, imdb, "--config", record)


def test_options_reach_the_spec():
    parser = digit_sum_program._parser()
    arguments = parser.parse_args(
        ["--cell", "gru", "--lookup", "one_hot", "--bidirectional", "--layers", "2", "--k", "5", "--data-seed", "9"]
    )
    plan = digit_sum_program._plan(arguments)
    spec = plan.experiments["gru"]
    assert spec.model.embedding.lookup == "one_hot" and spec.model.encoder.bidirectional
    assert spec.model.encoder.num_layers == 2 and (spec.data.copies, spec.data.seed) == (5, 9)
    quick = digit_sum_program._plan(parser.parse_args(["--quick"]))
    assert quick.lengths == (10, 20) and quick.experiments["srn"].training.epochs == 60
    fresh = {
        digit_sum_program._plan(parser.parse_args(["--data-seed", "fresh"])).experiments["srn"].data.seed for _ in "ab"
    }
    assert len(fresh) == 2


@each_backend
@pytest.mark.parametrize(
    "options",
    [
        ("--cell", "gru", "--bidirectional", "--layers", "2", "--dropout", "0.2"),
        ("--cell", "residual_srn", "--lookup", "one_hot", "--impl", "loop"),
        ("--cell", "srn", "--biases", "two", "--pooling", "mean", "--optimizer", "sgd", "--lr", "0.1"),
    ],
)
def test_variants_of_the_exercises(name, options, capsys, tmp_path):
    fixed = ("--lengths", 4, "--seeds", 5, "--epochs", 1, "--k", 1)
    arguments = (*fixed, "--data-seed", "fresh", "--out", tmp_path / "run")
    code, out, _ = call(capsys, digit_sum_program, "--backend", name, *options, *arguments)
    assert code == 0 and "newly drawn" in out


# ---- exploding


@each_backend
@pytest.mark.parametrize("cell", ["srn", "gru", "lstm", "residual_srn"])
def test_state_gradients_are_exact(name, cell, rng):
    """Against the complex step through the reference: the state after step t is moved, and the loss looked at."""
    spec = digit_sum(
        **{
            "model.encoder.cell": cell,
            "model.encoder.hidden_size": 3,
            "model.embedding.dim": 4,
            "training.dtype": "float64",
        }
    )
    parameters = random_parameters(spec, rng)
    batch = pad([rng.integers(1, 12, 6) for _ in range(4)], {"label": rng.integers(0, 19, 4)})
    weights = [parameters[f"encoder.{kind}_l0"] for kind in WEIGHT_KINDS]

    def loss(row: int, t: int, unit: int, part: str) -> complex:
        x = parameters["embedding.weight"][batch.ids[row]].astype(np.complex128)
        h, c = np.zeros((1, 3), np.complex128), np.zeros((1, 3), np.complex128)
        for step in range(6):
            h, c = CELLS[cell](x[step : step + 1], h, c, weights)
            if step == t:
                h, c = h.copy(), c.copy()
                (h if part == "h" else c)[0, unit] += 1e-30j
        logits = h @ parameters["head.weight"].T + parameters["head.bias"]
        return cross_entropy(logits, batch.labels[row : row + 1], "mean")

    for implementation in implementations.SIDE_BY_SIDE:
        found = state_gradients(backends.load(name), Executor("cpu", implementation), spec, parameters, batch)
        assert set(found) == ({"h", "c"} if cell == "lstm" else {"h"})
        for part, norms in found.items():
            assert norms.shape == (4, 6 if part == "h" else 5)
            for row, t in np.ndindex(norms.shape):
                wanted = np.linalg.norm([loss(row, t, unit, part).imag / 1e-30 for unit in range(3)])
                assert norms[row, t] == pytest.approx(wanted, rel=1e-12, abs=1e-16), (implementation, part, row, t)


def test_powers_bound_the_gradient(rng):
    """|U^k| is at least radius^k, and at most |U|^k; a nilpotent U has radius 0 and a norm until its index."""
    weights = rng.normal(0, 0.4, (3, 5, 5))
    weights[2] = np.triu(weights[2], 1)
    found = powers(weights.astype(np.float32), 6)
    weights = weights.astype(np.float32).astype(np.float64)
    for number, matrix in enumerate(weights):
        for k in range(1, 7):
            power = np.linalg.matrix_power(matrix, k)
            own = np.sqrt(max(np.linalg.eigvalsh(power.T @ power).max(), 0))
            assert found.norms[number, k - 1] == pytest.approx(own, rel=1e-6, abs=1e-9)
            assert found.radius[number] ** k <= found.norms[number, k - 1] * (1 + 1e-9)
            assert found.norms[number, k - 1] <= found.norms[number, 0] ** k * (1 + 1e-9)
    assert found.radius[2] == 0 and found.norms[2, 3] > 0 and found.norms[2, 4:].max() == 0


def test_state_gradients_need_one_length_and_one_layer(rng):
    spec = digit_sum(**{"training.dtype": "float64"})
    parameters = random_parameters(spec, rng)
    side = backends.load(INSTALLED[0])
    unequal = pad([np.array([2, 3]), np.array([2, 3, 4])], {"label": np.array([0, 1])})
    with pytest.raises(ValueError, match="of one length"):
        state_gradients(side, Executor("cpu", "loop"), spec, parameters, unequal)


@pytest.mark.slow
@pytest.mark.parametrize("name", [INSTALLED[SAMPLE % len(INSTALLED)]])
def test_gradients_explode_and_clipping_bounds_them(name, tmp_path, capsys):
    """What the book's figures 6.8 and 6.9 show, over eight seeds."""
    out = tmp_path / "run"
    code, shown, _ = call(capsys, exploding_program, "--backend", name, "--vanishing-epochs", 2, "--out", out, "--log")
    assert code == 0 and "not clipped" in shown
    found = json.loads((out / "results.json").read_text())
    plain, clipped = (np.array(found["training"][way]["norms"]["W"], dtype=float) for way in ("not clipped", "clipped"))
    assert plain.shape == clipped.shape == (250, 8)
    peaks = plain[:40].max(axis=0)
    assert (peaks > 1e2).all() and (peaks < 1e5).all(), peaks
    assert np.median(plain[59]) < 1e-2
    assert np.median(clipped, axis=1).min() > 1 and np.median(clipped, axis=1).max() < 100
    for state in ("untrained", "trained"):
        norms = {name: np.array(values) for name, values in found["state_gradients"][state].items()}
        assert {name: values.shape for name, values in norms.items()} == {
            **dict.fromkeys(["srn h", "gru h", "lstm h"], (20, 8)),
            "lstm c": (19, 8),
        }
        powers = found["powers"][state]
        assert np.array(powers["norms"]).shape == (8, 19) and len(powers["radius"]) == 8
    for picture in ("norms.png", "norms-clipped.png", "vanishing.png", "powers.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")


def test_norms_equal_those_of_the_gradients(rng):
    """The first step's, of each model, from the reference's exact derivative."""
    from core.data.stack import Stack
    from core.parity import derivatives
    from core.train.ensemble import steps_from
    from tasks.run.gradient_norms import TENSORS
    from tasks.run.gradient_norms import members as make

    spec = replace(exploding(), {"model.encoder.hidden_size": 3, "model.embedding.dim": 2, "training.dtype": "float64"})
    members = make(spec, [int(seed) for seed in rng.integers(1000, size=2)])
    worker = Worker.of_ensemble(Request(INSTALLED[0], "cpu"), exploding())
    ensemble = worker.ensemble(members)
    values = {key: array.copy() for key, array in ensemble.parameters().items()}
    _, batch, rate = next(steps_from(members, Stack([member.data.train for member in members])))
    ensemble.train_step(batch, 0, rate)
    norms = ensemble.collect()[0].norms
    for number, member in enumerate(members):
        own = {key: array[number] for key, array in values.items()}
        rows = slice(number * 64, (number + 1) * 64)
        alone = type(batch)(batch.ids[rows], batch.lengths[rows], {"label": batch.labels[rows]})
        exact = derivatives.gradients(member.experiment, own, alone, 0)
        for tensor in TENSORS.values():
            assert norms[tensor][number] == pytest.approx(np.linalg.norm(exact[tensor]), rel=1e-10), tensor


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--length", "2"), "--length 2"),
        (("--seeds", "1", "1"), "--seeds 1"),
        (("--vanishing-epochs", "0"), "--vanishing-epochs 0"),
        (("--set", "model.encoder.num_layers=2"), "expected one unidirectional layer"),
        (("--clip-norm", "0"), "clip_norm"),
    ],
)
def test_errors_of_exploding_are_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, exploding_program, *arguments)
    assert not list(tmp_path.iterdir())


def test_old_run_folders_are_readable():
    """Specs written before data had a kind."""
    tree = Experiment().model_dump(mode="json")
    del tree["data"]["kind"], tree["training"]["eval_epochs"], tree["model"]["encoder"]["biases"]
    assert Experiment.model_validate(tree) == Experiment()
    with pytest.raises(UserError) as error:
        replace(Experiment(), {"data.length": 3})
    assert "data.length" in one_line(error)


def test_the_pictures_of_the_document_are_there_and_small():
    text = (ROOT / "docs" / "textbook.md").read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((textbook/[a-z-]+\.png)\)", text)
    assert len(pictures) == len(set(pictures)) == len(list((ROOT / "docs" / "textbook").iterdir()))
    for picture in pictures:
        assert 0 < (ROOT / "docs" / picture).stat().st_size < 60_000, picture
