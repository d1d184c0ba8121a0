"""What a layer's gates and states are (`core/analysis/gates.py`), against the reference and both frameworks; their
picture (`core/plots/gates.py`); and the program (`tasks/gates.py`), what it writes and how it refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.gates
from backends import implementations
from core.analysis.gates import QUANTITIES, Place, memory, trace
from core.batch import pad
from core.data.ngrams.texts import Texts
from core.data.vocabulary import Vocabulary
from core.engine.executor import Executor
from core.errors import UserError
from core.models.encoders.recurrent import GATES, WEIGHT_KINDS, direction_suffixes
from core.models.heads.scores import probabilities_of
from core.models.model import forward
from core.parity.instances import random_batch, random_parameters
from core.plots.fonts import LABEL_LIMIT, shortened
from core.plots.gates import gate_figure, signed_limit, unit_order
from core.spec.experiment import Experiment, replace
from core.spec.text import Text
from core.train.run_folder import RunFolder
from tasks.cli.console import run_program
from tests.conftest import Done, check_refused, loaded, make_dataset, run_main
from tests.ngram_texts import prepared_of, with_ngrams_of
from tests.pairwise import pairwise

ROOT = Path(__file__).parents[3]
PNG = b"\x89PNG\r\n\x1a\n"
DIGITS = [str(digit) for digit in range(10)]
WORDS = ["a", "the", "film", "was", "wonderful", "awful", "plot", ",", "$x$", "café"]
WORDS += ["i", "we", "loved", "hated", "every", "minute", "of", "it"]
WORDS += [f"word{number}" for number in range(20)]
WITHOUT_GATES = sorted(GATES.keys() - QUANTITIES.keys())
LIMIT = {"float64": 1e-12, "float32": 1e-6}

each_model = pairwise(cell=QUANTITIES, layers=[1, 2], bidirectional=[False, True])


def instance(rng, cell: str, layers: int, bidirectional: bool, dtype: str = "float64", **changes):
    """An experiment with random weights."""
    experiment = replace(
        Experiment(),
        {
            "model.embedding.vocab_size": 11,
            "model.embedding.dim": 5,
            "model.encoder.cell": cell,
            "model.encoder.hidden_size": 6,
            "model.encoder.num_layers": layers,
            "model.encoder.bidirectional": bidirectional,
            "training.dtype": dtype,
            **changes,
        },
    )
    return experiment, random_parameters(experiment, rng)


def places(experiment: Experiment):
    """Every layer and direction, forward as False."""
    encoder = experiment.model.encoder
    return itertools.product(range(encoder.num_layers), [False, True][: encoder.directions])


# Values


@each_model
def test_hidden_states_equal_the_reference(cell, layers, bidirectional, rng):
    """Of each sequence of a padded batch, traced alone."""
    experiment, parameters = instance(rng, cell, layers, bidirectional)
    batch = random_batch(experiment, rng, rows=4, longest=9)
    found = forward(experiment.model, parameters, batch)
    size = experiment.model.encoder.hidden_size
    for layer, reverse in places(experiment):
        for row, length in enumerate(batch.lengths):
            values = trace(experiment.model, parameters, batch.ids[row, :length], Place(layer, reverse))
            wanted = found[f"encoder.l{layer}"][row, :length, int(reverse) * size :][:, :size]
            np.testing.assert_allclose(values["hidden_state"], wanted, rtol=0, atol=1e-14)


def test_values_of_ngrams_are_read_with_the_word_vectors(rng):
    """Of a batch of one text, as `tasks.gates` gives it."""
    experiment, parameters = instance(rng, "gru", 2, True, **{"model.ngrams": {"orders": 2}})
    batch = random_batch(experiment, rng, rows=2)
    batch = batch.sharded(int(batch.lengths.argmax()), 2)
    found = forward(experiment.model, parameters, batch)
    size = experiment.model.encoder.hidden_size
    for layer, reverse in places(experiment):
        values = trace(experiment.model, parameters, batch, Place(layer, reverse))
        wanted = found[f"encoder.l{layer}"][0, :, int(reverse) * size :][:, :size]
        np.testing.assert_allclose(values["hidden_state"], wanted, rtol=0, atol=1e-14)


def test_program_reads_the_ngrams_of_a_run(rng, tmp_path):
    """Of its input: more tokens than `text.max_length` with `--sequence`, truncated ones with `--text`."""
    changes = {
        "model.ngrams": {"orders": 2},
        "model.embedding.vocab_size": 20,
        "text.max_length": 3,
        "text.tokenizer": "words",
    }
    experiment, parameters = instance(rng, "lstm", 1, True, **changes)
    fitted, _ = with_ngrams_of(experiment, prepared_of(make_dataset(rng, 40), make_dataset(rng, 4)))
    words = ["<pad>", "<unk>", *(f"w{number}" for number in range(2, 20))]
    folder = RunFolder.create(tmp_path / "run")
    own = {"backend": "none", "device": "cpu", "implementation": "builtin", "versions": {"none": "1"}}
    data = {"kind": "reviews", "description": "texts", "fingerprint": "texts"}
    segments = [{**own, "from_step": 0}]
    folder.write_record(experiment, {**own, "classes": ["no", "yes"], "data": data, "segments": segments})
    folder.write_vocabulary(Vocabulary(words, [0] * 20))
    folder.write_ngrams(fitted)
    folder.write_best(parameters, 1)
    tokens = ["w2", "w3", "w2", "w9", "w3"]
    probabilities = {}
    for option, given in (("--sequence", tokens), ("--text", [" ".join(tokens)])):
        kept = tokens if option == "--sequence" else tokens[:3]
        done = run_main(tasks.gates.main, folder.path, option, *given, "--out", tmp_path / f"{option[2:]}.png")
        assert done.code == 0, done
        tree = json.loads((tmp_path / f"{option[2:]}.json").read_text())
        features = fitted.model.features(Texts.of([tokens]), Text(max_length=len(kept)))
        ngrams = features.batch(np.array([0]), np.array([0, len(kept)]), len(kept))
        ids = np.array([words.index(token) for token in kept])
        batch = dataclasses.replace(pad([ids], {}), ngrams=ngrams)
        wanted = probabilities_of(forward(experiment.model, parameters, batch)["logits"])[0]
        np.testing.assert_allclose(tree["probabilities"], wanted, rtol=1e-6)
        probabilities[option] = wanted
    assert not np.allclose(*probabilities.values())


@each_model
def test_gates_recombine_to_the_states(cell, layers, bidirectional, rng):
    """Step by step in the order of the walk, from zero."""
    experiment, parameters = instance(rng, cell, layers, bidirectional)
    ids = rng.integers(1, 11, 8)
    for layer, reverse in places(experiment):
        values = trace(experiment.model, parameters, ids, Place(layer, reverse))
        assert list(values) == [quantity.name for quantity in QUANTITIES[cell]]
        assert all(array.shape == (8, 6) and array.dtype == np.float64 for array in values.values())
        for quantity in QUANTITIES[cell]:
            if quantity.is_gate:
                assert (values[quantity.name] > 0).all() and (values[quantity.name] < 1).all()
        state = memory(values)
        before = np.roll(state, -1 if reverse else 1, axis=0)
        before[-1 if reverse else 0] = 0.0
        if "cell_state" in values:
            made = values["forget_gate"] * before + values["input_gate"] * values["candidate"]
            hidden = values["output_gate"] * np.tanh(values["cell_state"])
            np.testing.assert_allclose(hidden, values["hidden_state"], rtol=0, atol=1e-14)
        else:
            made = (1 - values["update_gate"]) * values["candidate"] + values["update_gate"] * before
        np.testing.assert_allclose(made, state, rtol=0, atol=1e-14)


def test_reset_gate_acts_after_the_recurrent_product(rng):
    """Of the GRU's gates it alone does not show in the recombination above."""
    experiment, parameters = instance(rng, "gru", 1, False)
    ids = rng.integers(1, 11, 7)
    values = trace(experiment.model, parameters, ids)
    before = np.vstack([np.zeros(6), values["hidden_state"][:-1]])
    x = parameters["embedding.weight"][ids]
    n_x, n_h = (
        (side @ parameters[f"encoder.weight_{kind}_l0"].T + parameters[f"encoder.bias_{kind}_l0"])[:, 12:]
        for side, kind in ((x, "ih"), (before, "hh"))
    )
    np.testing.assert_allclose(np.tanh(n_x + values["reset_gate"] * n_h), values["candidate"], rtol=0, atol=1e-14)


def states_of(name, implementation, encoder, weights, x, layer, reverse) -> dict[str, np.ndarray]:
    """`h_n`, `c_n` [L, H] after every step of a layer of a framework's: from all heads of the sequence x [L, I], or,
    for the direction that walks from the end, all its tails. And its `output` [L, H * directions]."""
    length, single = len(x), encoder.model_copy(update={"num_layers": 1})
    pieces = [x[start:] for start in range(length)] if reverse else [x[: end + 1] for end in range(length)]
    given = {"x": np.zeros((length, *x.shape), x.dtype)}
    for row, piece in enumerate(pieces):
        given["x"][row, : len(piece)] = piece
    for suffix, kind in itertools.product(direction_suffixes(encoder.bidirectional), WEIGHT_KINDS):
        given[f"encoder.{kind}_l0{suffix}"] = weights[f"encoder.{kind}_l{layer}{suffix}"]
    for state in "hc" if encoder.cell == "lstm" else "h":
        given[f"{state}_0"] = np.zeros((encoder.directions, length, encoder.hidden_size), x.dtype)
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    found = backends.load(name).LayerProbe(single, given, lengths, Executor("cpu", implementation)).forward()
    states = {key: found[key][int(reverse)] for key in ("h_n", "c_n") if key in found}
    return {**states, "output": found["output"][lengths.argmax()]}


@pairwise(name=backends.NAMES, dtype=LIMIT, cell=QUANTITIES, layers=[1, 2], bidirectional=[False, True])
def test_states_equal_those_of_both_frameworks(name, dtype, cell, layers, bidirectional, rng):
    """Hidden and cell states after every step, layer upon layer, by every implementation."""
    loaded(name)
    experiment, parameters = instance(rng, cell, layers, bidirectional, dtype)
    ids = rng.integers(1, 11, 7)
    for implementation in implementations.IMPLEMENTATIONS:
        if implementation == "fast" and implementations.why_not_fast("cpu"):
            continue
        inputs = {0: parameters["embedding.weight"][ids]}
        for layer, reverse in places(experiment):
            encoder = experiment.model.encoder
            found = states_of(name, implementation, encoder, parameters, inputs[layer], layer, reverse)
            inputs[layer + 1] = found["output"]
            values = trace(experiment.model, parameters, ids, Place(layer, reverse))
            assert ("c_n" in found) == ("cell_state" in values)
            for key, quantity in (("h_n", "hidden_state"), ("c_n", "cell_state")):
                if key in found:
                    assert found[key].dtype == np.dtype(dtype)
                    difference = np.abs(found[key] - values[quantity]).max()
                    assert difference <= LIMIT[dtype], (implementation, layer, reverse, key)


@pytest.mark.parametrize("cell", WITHOUT_GATES)
def test_a_cell_without_gates_is_refused(cell, rng):
    experiment, parameters = instance(rng, cell, 1, False)
    with pytest.raises(UserError, match=f"the cell {cell} has no gates"):
        trace(experiment.model, parameters, rng.integers(1, 11, 3))


# The picture


@pytest.mark.parametrize("length", [1, 10])
def test_order_of_units(length, rng):
    """A permutation: positive ones first, earlier peaks first; one order whatever the quantities."""
    values = {"hidden_state": rng.normal(size=(length, 40))}
    order, cut = unit_order(values)
    assert sorted(order.tolist()) == list(range(40))
    state = values["hidden_state"][:, order]
    peak = np.abs(state).argmax(axis=0)
    sign = np.sign(state[peak, np.arange(40)])
    assert (sign[:cut] > 0).all() and (sign[cut:] < 0).all()
    assert (np.diff(peak[:cut]) >= 0).all() and (np.diff(peak[cut:]) >= 0).all()
    lstm = {"hidden_state": rng.normal(size=(length, 40)), "cell_state": values["hidden_state"]}
    assert unit_order(lstm)[0].tolist() == order.tolist()


def test_colour_limits(rng):
    panel = rng.uniform(-1, 1, (30, 30))
    assert signed_limit(panel) == (np.abs(panel).max(), "neither")
    panel[3, 4] = -50.0
    assert signed_limit(panel)[0] <= 1 and signed_limit(panel)[1] == "both"
    assert signed_limit(np.zeros((2, 3))) == (1.0, "neither")


def test_labels_are_drawable():
    assert shortened("na\u00efve") == "na\u00efve" and shortened("a\tb\x07") == "a?b?"
    assert len(shortened("x" * 500)) == LABEL_LIMIT


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "length"), [("lstm", 3), ("gru", 12), ("lstm", 60), ("gru", 220)])
def test_labels_do_not_overlap(cell, length, rng):
    """Along either axis, nor a title; every token has its label up to 60 of them."""
    words = np.array([*WORDS, "in" * 30, "[unknowable]", "7"])
    tokens = [str(word) for word in rng.choice(words, length)]
    values = {quantity.name: rng.uniform(-1, 1, (length, 70)) for quantity in QUANTITIES[cell]}
    figure = gate_figure(values, QUANTITIES[cell], tokens, "a $title$ of _two\nlines, with probability 1.0000")
    figure.canvas.draw()
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == len(QUANTITIES[cell])
    for axes in panels:
        labels = [label for label in axes.get_xticklabels() if label.get_text()]
        assert len(labels) == length or length > 60
        for group in (labels, axes.get_yticklabels()):
            boxes = [label.get_window_extent() for label in group]
            assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
    whole = [axes.get_tightbbox() for axes in panels] + [figure._suptitle.get_window_extent()]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(whole, 2))


@pytest.mark.parametrize("units", [6, 128])
def test_few_units_are_numbered_and_many_named_by_group(units, rng):
    values = {quantity.name: rng.uniform(-1, 1, (5, units)) for quantity in QUANTITIES["lstm"]}
    order, cut = unit_order(values)
    figure = gate_figure(values, QUANTITIES["lstm"], list("abcde"), "title")
    shown = {label.get_text(): label.get_position()[1] for label in figure.axes[0].get_yticklabels()}
    if units == 6:
        assert shown == {str(unit): place for place, unit in enumerate(order)} and figure._supxlabel is None
    else:
        assert shown == {"state\n> 0": (cut - 1) / 2, "state\n< 0": (cut + 127) / 2}
        assert "sorted" in figure._supxlabel.get_text()


# The program


def call(*argv: object) -> Done:
    """The program in this process."""
    return run_main(tasks.gates.main, *argv)


def make_run(path: Path, rng, cell="lstm", layers=1, two_way=False, tokens=DIGITS, tokenizer="whitespace") -> Path:
    """A run folder with random weights, as a program for training leaves it."""
    classes = [str(number) for number in range(19)]
    experiment, parameters = instance(
        rng,
        cell,
        layers,
        two_way,
        "float32",
        **{
            "task": "digit_sum",
            "model.embedding.vocab_size": len(tokens) + 2,
            "model.head.pooling": "last",
            "model.head.classes": len(classes),
            "text.tokenizer": tokenizer,
            "text.max_length": 12,
            "text.truncate": "both",
        },
    )
    folder = RunFolder.create(path)
    own = {"backend": "none", "device": "cpu", "implementation": "builtin", "versions": {"none": "1"}}
    data = {"kind": "digits", "description": "digits", "fingerprint": "digits"}
    execution = {**own, "classes": classes, "data": data, "segments": [{**own, "from_step": 0}]}
    folder.write_record(experiment, execution)
    folder.write_vocabulary(Vocabulary(["<pad>", "<unk>", *tokens], [0, 0, *rng.integers(1, 9, len(tokens))]))
    folder.write_best(parameters, 1)
    return path


@pytest.fixture
def run(tmp_path, rng) -> Path:
    """A one-way LSTM for digits."""
    return make_run(tmp_path / "run", rng)


@pytest.fixture
def reviews(tmp_path, rng) -> Path:
    """A bidirectional GRU of two layers for words."""
    return make_run(tmp_path / "reviews", rng, "gru", 2, True, WORDS, "words")


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def refused(tmp_path):
    """Call the program and check its refusal: one line, and nothing changed in the test's folder."""
    return functools.partial(check_refused, tasks.gates.main, folder=tmp_path)


def read(png: Path) -> dict:
    """The values beside a picture, which must be one."""
    assert png.read_bytes().startswith(PNG) and png.stat().st_size > 10_000
    return json.loads(png.with_suffix(".json").read_text(encoding="utf-8"))


def test_a_sequence(run, rng):
    """What is drawn, kept and said are the values, the prediction and the files."""
    digits = [str(digit) for digit in rng.integers(0, 10, 10)]
    done = call(run, "--sequence", *digits)
    assert done.code == 0 and done.err == "", done.err
    png = run / f"gates-{'-'.join(digits)}-l0-forward.png"
    kept, folder = read(png), RunFolder.open(run)
    experiment, execution = folder.read_record()
    parameters = folder.read_best(experiment.model)
    ids = np.array([2 + int(digit) for digit in digits])
    assert kept["tokens"] == digits and kept["ids"] == ids.tolist()
    values = trace(experiment.model, parameters, ids)
    assert {name: np.array(array).tolist() for name, array in values.items()} == kept["values"]
    assert kept["unit_order"] == unit_order(values)[0].tolist()
    best = int(np.argmax(kept["probabilities"]))
    assert sum(kept["probabilities"]) == pytest.approx(1)
    assert f"output   {execution['classes'][best]}, probability {kept['probabilities'][best]:.4f}\n" in done.out
    assert "1 x LSTM 6; layer 0, forward" in done.out and str(png) in done.out and "10 tokens\n" in done.out
    assert contents(run).keys() - {png.name, png.with_suffix(".json").name} == {
        "experiment.json",
        "vocab.json",
        "best.safetensors",
    }


def test_a_text(reviews):
    """As `predict` sees it: lower-cased, cut, unknown words marked, said and counted."""
    text = "Blorp! The film: wonderful, BLORP loved every minute, we hated the awful plot of it."
    picture = reviews.parent / "picture.png"
    done = call(reviews, "--text", text, "--layer", 1, "--direction", "reverse", "--out", picture)
    assert done.code == 0 and done.err == "", done.err
    kept = read(picture)
    last = ["the", "every", "minute", "we", "hated", "the", "awful", "plot", "of", "it"]
    assert kept["tokens"] == ["[blorp]", "[!]", *last]
    assert (kept["layer"], kept["direction"]) == (1, "reverse")
    said = " ".join(done.out.split())
    assert "12 tokens, 4 more truncated (text.max_length 12, both)" in said
    assert "2 out of vocabulary, read as UNK: blorp, !" in said
    assert "2 x bidirectional GRU 6; layer 1, reverse" in said
    import tasks.imdb

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run_program(tasks.imdb.main, ["predict", str(reviews), text]) == 0
    label, probability, _ = out.getvalue().split("\t")
    assert f"output {label}, probability {probability}" in said


def test_different_inputs_have_different_files(reviews, monkeypatch):
    """Also where their names would be alike; the same input has the same."""
    monkeypatch.setattr(tasks.gates, "draw_gates", lambda *given: given[-1].write_bytes(PNG))
    asked = [
        *(("--text", text) for text in ("a film", "A film!", "a blorp", "a blurp", "word1 " * 12, "word1 " * 11)),
        *(("--text", "a film", *more) for more in (("--layer", 1), ("--direction", "reverse"))),
    ]
    for count, argv in enumerate(asked, start=1):
        for _ in range(1 if count > 2 else 2):
            done = call(reviews, *argv)
            assert done.code == 0, done.err
        for suffix in ("png", "json"):
            assert len(list(reviews.glob(f"gates-*.{suffix}"))) == count
    assert (reviews / "gates-a-film-l0-forward.png").is_file()


def test_several_tokens_in_one_argument(run):
    assert call(run, "--sequence", "6 7", "0", "--out", run / "one.png").code == 0
    assert read(run / "one.png")["tokens"] == ["6", "7", "0"]


def test_bad_input_is_refused(run, reviews, tmp_path, refused, rng):
    refused(says=("RUN", "--help"))
    refused(run, says=("one of --sequence and --text",))
    refused(run, "--sequence", 1, "--text", "1", says=("give exactly one",))
    refused(run, "--sequence", 6, 12, 0, says=("no token '12'", "choose from 0 1 2 3 4 5 6 7 8 9", "vocab.json"))
    refused(run, "--sequence", -1, says=("no token '-1'",))
    refused(run, "--sequence", "<pad>", says=("no token '<pad>'",))
    refused(reviews, "--sequence", "film", "Film", says=("no token 'Film'", f"it has {len(WORDS)} others"))
    refused(run, "--sequence", says=("--sequence", "--help"))
    refused(run, "--sequence", " ", says=("--sequence is empty",))
    refused(run, "--text", " ", says=("--text: the whitespace tokenizer finds no tokens"))
    refused(reviews, "--text", "()", says=("--text: the words tokenizer finds no tokens"))
    refused(run, "--sequence", 1, "--layer", 1, says=(str(run), "no layer 1", "give layer 0"))
    refused(reviews, "--text", "a", "--layer", -1, says=("no layer -1", "one of layers 0 to 1"))
    refused(run, "--sequence", 1, "--layer", "x", says=("--layer", "--help"))
    refused(run, "--sequence", 1, "--direction", "reverse", says=("no reverse direction",))
    refused(run, "--sequence", 1, "--direction", "up", says=("--direction up", "forward, reverse"))
    refused(tmp_path / "none", "--sequence", 1, says=("no such run folder",))
    refused(tmp_path, "--sequence", 1, says=("experiment.json is missing",))
    refused(run, "--sequence", 1, "--out", tmp_path / "a.pdf", says=(".png",))
    refused(run, "--sequence", 1, "--out", tmp_path / "none" / "a.png", says=("none", "cannot be written"))
    refused(run, "--sequence", 1, "--out", run / "experiment.png", says=("experiment.json: exists", "--out"))
    for cell in WITHOUT_GATES:
        make_run(tmp_path / cell, rng, cell)
        refused(tmp_path / cell, "--sequence", 1, says=(cell, "the cell", "no gates", "LSTM or GRU"))


def test_damaged_run_is_refused(run, refused, rng):
    best, vocabulary, record = (run / name for name in ("best.safetensors", "vocab.json", "experiment.json"))

    def damaged(path: Path, content: bytes | None, *says: str) -> None:
        sound = path.read_bytes()
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        refused(run, "--sequence", 1, 2, says=says)
        path.write_bytes(sound)

    damaged(best, None, "best.safetensors is missing")
    damaged(best, best.read_bytes()[: rng.integers(1, 2000)], "best.safetensors", "damaged")
    damaged(vocabulary, vocabulary.read_bytes()[:-9], "vocab.json")
    damaged(vocabulary, vocabulary.read_bytes().replace(b'"9"', b'"8"'), "vocab.json", "changed")
    damaged(record, b"{", "experiment.json", "not JSON")
    tree = json.loads(record.read_text())
    tree["execution"]["classes"].pop()
    tree["digest"] = None
    damaged(record, json.dumps(tree).encode(), "experiment.json", "18 names, expected 19", "damaged")
    folder = RunFolder.open(run)
    parameters = folder.read_best(folder.read_record()[0].model)
    parameters["encoder.weight_hh_l0"][3, 2] = np.nan
    folder.write_best(parameters, 1)
    refused(run, "--sequence", 1, says=("best.safetensors", "encoder.weight_hh_l0", "NaN"))


def test_program_imports_no_framework(run):
    code = "import sys, tasks.gates, tasks.cli.console\n"
    code += f"code = tasks.cli.console.run_program(tasks.gates.main, [{str(run)!r}, '--sequence', '4', '2'])\n"
    code += "print(code, [name for name in ('torch', 'paddle') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr


def test_characters_that_no_font_has_are_one_warning(tmp_path, rng):
    """Cuneiform, say."""
    run = make_run(tmp_path / "run", rng, tokens=["\U00012000", "\U00012001", "a"])
    done = call(run, "--sequence", "\U00012000", "a", "\U00012001")
    assert done.code == 0 and done.err.startswith("warning: no installed font") and done.err.count("\n") == 1, done.err
    assert "(#1 \U00012000, #3 \U00012001)" in done.err
