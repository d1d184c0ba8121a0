"""`tasks.twin`: arguments, the user's files, recordings, and what it prints, writes and returns."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import numpy as np
import pytest

import tasks.twin.__main__ as program
from core.errors import UserError
from core.twin.contract import Optimization
from core.twin.file import read_record
from tasks.cli.user_files import UserFiles
from tasks.twin import models
from tasks.twin.arguments import parse
from tasks.twin.compare import finite
from tests.conftest import INSTALLED, ROOT, Done, check_refused, needs_both, run_main
from tests.core.report.pages import read, stands_alone
from tests.markdown import blocks, shown_output
from tests.verdicts import rows, verdict

TORCH = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 6)
        self.norm = nn.LayerNorm(6)
        self.drop = nn.Dropout(0.25)
        self.out = nn.Linear(6, 6)

    def forward(self, ids, scale):
        return self.out(self.drop(torch.tanh(self.norm(self.words(ids))))) * scale

class Failing(Model):
    def forward(self, ids, scale):
        raise RuntimeError("mine")

def loss(outputs, inputs):
    return (outputs ** 2).mean()

ready = Model()
number = 3
chain = nn.Sequential(nn.Linear(5, 6), nn.ReLU())

class Casting(nn.Linear):
    def forward(self, x):
        return torch.nn.functional.linear(x.float(), self.weight)

def narrow():
    return torch.jit.script(Casting(6, 6))
"""
PADDLE = """
import paddle
from paddle import nn

class Model(nn.Layer):
    epsilon = 1e-5

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.layer_norm = nn.LayerNorm(6, epsilon=self.epsilon)
        self.embed = nn.Embedding(20, 6)
        self.drop = nn.Dropout(0.25)
        self.act = nn.Tanh()

    def forward(self, ids, scale):
        return self.fc(self.drop(self.act(self.layer_norm(self.embed(ids))))) * scale

class Wrong(Model):
    epsilon = 1e-3

layer = nn.Linear(6, 6)
"""
FUNCTIONS = """
def loss(outputs, inputs):
    return (outputs * inputs["scale"]).sum()

def other(outputs, inputs):
    return (outputs * inputs["scale"]).mean()

def sgd_torch(model):
    import torch
    return torch.optim.SGD(model.parameters(), lr=0.1)

def sgd_paddle(model):
    import paddle
    return paddle.optimizer.SGD(0.2, parameters=model.parameters())
"""
CONVERT = """
def convert(arrays):
    names = {"words": "embed", "norm": "layer_norm", "out": "fc"}
    found = {}
    for name, array in arrays.items():
        module, _, role = name.partition(".")
        found[f"{names[module]}.{role}"] = array.T if name == "out.weight" else array
    return found

def untransposed(arrays):
    return {name: array.T if name == "fc.weight" else array for name, array in convert(arrays).items()}

def unfinished(arrays):
    return None
"""
INPUTS = ("--input", "ids=int[3,5]:20", "--input", "scale=float[3,5,1]")


def call(*argv: object) -> Done:
    return run_main(program.main, *argv)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Both models and a conversion in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("own_torch", TORCH), ("own_paddle", PADDLE), ("own_convert", CONVERT), ("own", FUNCTIONS)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


# Arguments


def test_arguments_are_read():
    text = "a.py:M b.py:N --input ids=int[4,9]:50 --input float[2] --map a=b --optimizer adamw:1e-2,beta2=.9 --steps 3"
    own = parse([*text.split()])
    assert own.inputs == ["ids=int[4,9]:50", "1=float[2]"] and own.mapping == {"a": "b"}
    assert own.optimization == Optimization("adamw", 1e-2, betas=(0.9, 0.9), steps=3)
    assert own.modes == ("evaluation", "training") and own.optimizers == ("", "")


def test_training_steps_are_made_if_asked_for():
    assert parse(["a.py:M", "b.py:N"]).optimization is None
    assert parse(["a.py:M", "b.py:N", "--steps", "4"]).optimization == Optimization(steps=4)
    assert parse(["a.py:M", "b.py:N", "--optimizer", "sgd:1", "--steps", "0"]).optimization is None
    own = parse(["a.py:M", "b.py:N", "--optimizer", "o.py:t,p", "--loss", "l.py:loss"])
    assert own.optimizers == ("o.py:t", "o.py:p") and own.losses == ("l.py:loss", "l.py:loss")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["a.py:M"], "expected two"),
        (["a.py:M", "b.py:N", "--record", "c.safetensors"], "expected one"),
        (["a.py:M", "--record", "c.npz"], ".safetensors"),
        (["a.safetensors", "--record", "c.safetensors"], "recording already"),
        (["a.py:M", "b.py:N", "--to", "jax"], "choose one of"),
        (["a.py:M", "b.py:N", "--mode", "train"], "choose one of"),
        (["a.py:M", "b.py:N", "--dtype", "float16"], "choose one of"),
        (["a.py:M", "b.py:N", "--optimizer", "lion:1"], "FILE:FUNCTION"),
        (["a.py:M", "b.py:N", "--optimizer", "adam:x"], "a number"),
        (["a.py:M", "b.py:N", "--optimizer", "adam:1,rho=2"], "no setting"),
        (["a.py:M", "b.py:N", "--clip-norm", "1"], "--optimizer"),
        (["a.py:M", "b.py:N", "--steps", "2", "--clip-norm", "-1"], "above 0"),
        (["a.py:M", "b.py:N", "--map", "a"], "A=B"),
        (["a.py:M", "b.py:N", "--map", "a=b", "--map", "c=b"], "mapped twice"),
        (["a.py:M", "b.py:N", "--loss", "l.py:a,b,c"], "in the order of the models"),
        (["a.py:M", "b.py:N", "--convert", "c.py:f", "--to", "torch"], "leave out --to"),
        (["a.safetensors", "b.py:N", "--weights", "w.pt"], "leave out --weights"),
        (["a.py:M", "b.py:N", "--html", "missing/page.html"], "no such folder"),
        (["a.py:M", "b.py:N", "--seed", "-1"], "0 or more"),
    ],
)
def test_wrong_arguments_are_one_line(argv, says, files):
    check_refused(program.main, *argv, says=says, folder=files)


# The user's files


@pytest.mark.skipif("torch" not in INSTALLED, reason="needs torch")
def test_models_are_classes_functions_and_instances(files):
    own = UserFiles()
    for name in ("Model", "ready"):
        loaded = models.load(f"own_torch.py:{name}", own, 0)
        assert loaded.framework == "torch" and type(loaded.model).__name__ == "Model"
    assert models.function("own_torch.py:loss", own, "--loss") is own.load(files / "own_torch.py").loss


@pytest.mark.skipif("torch" not in INSTALLED, reason="needs torch")
def test_models_of_a_package_are_found_by_the_name_of_the_module(files, monkeypatch):
    monkeypatch.syspath_prepend(str(files))
    (files / "package_of_mine").mkdir()
    (files / "package_of_mine" / "__init__.py").write_text("")
    (files / "package_of_mine" / "parts.py").write_text(TORCH)
    (files / "package_of_mine" / "model.py").write_text(
        "from .parts import Model, Failing as Base\nimport nothing_here"
    )
    own = UserFiles()
    assert models.load("package_of_mine.parts:Model", own, 0).framework == "torch"
    with pytest.raises(ModuleNotFoundError) as error:
        models.load("package_of_mine.model:Model", own, 0)
    assert "model.py" in own.trace(error.value)


@needs_both
@pytest.mark.parametrize("framework", ["torch", "paddle"])
def test_new_models_depend_on_the_seed(framework, files):
    def weights(seed: int) -> np.ndarray:
        model = models.load(f"own_{framework}.py:Model", UserFiles(), seed).model
        return np.concatenate([array.ravel() for array in models.state_of(model).values()])

    assert np.array_equal(weights(1), weights(1)) and not np.array_equal(weights(1), weights(2))


@pytest.mark.skipif("torch" not in INSTALLED, reason="needs torch")
@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("own_torch.py", "expected FILE:CLASS"),
        ("missing.py:Model", "no such file"),
        ("own_torch.py:Nothing", "no class, function or model Nothing"),
        ("own_torch.py:number", "got int"),
        ("no_module_of_mine.sub:Model", "no module"),
        ("json.sub:Model", "no module"),
        ("own torch:Model", "expected FILE:CLASS"),
    ],
)
def test_what_is_no_model_is_one_line(where, says, files):
    with pytest.raises(UserError, match=says) as error:
        models.load(where, UserFiles(), 0)
    assert "\n" not in str(error.value)


@needs_both
def test_errors_of_the_users_code_have_their_own_traceback(files):
    done = call("own_torch.py:Failing", "own_paddle.py:Model", *INPUTS)
    assert done.code == 2
    lines = done.err.splitlines()
    begin = lines.index("Traceback (most recent call last):")
    assert "own_torch.py" in lines[begin + 1] and lines[-1] == "RuntimeError: mine"


@needs_both
@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("chain", r"forward failed in float64, evaluation mode: RuntimeError: .*\(15x6 and 5x6\).*: check the inputs"),
        ("narrow", r"RuntimeError: .* dtype.*: compiled code may keep its number type: give the class"),
    ],
)
def test_errors_of_models_without_lines_of_the_user_are_one_line(model, says, files):
    """Such as layers of the framework alone, or compiled code."""
    done = call(f"own_torch.py:{model}", "own_paddle.py:layer", "--input", "float[3,5,6]")
    assert done.code == 2 and "Traceback" not in done.err
    assert re.search(rf"^error: own_torch.py:{model}: .*{says}", done.err, re.MULTILINE)


@needs_both
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("own_torch.py:Model", "own_torch.py:ready", *INPUTS), "one of each framework"),
        (("own_torch.py:Model", "own_paddle.py:Model", "--input", "ids=int[3,5]:20"), "does not fit the inputs ids"),
        (
            ("own_torch.py:Model", "own_paddle.py:Model", *INPUTS, "--convert", "own_convert.py:unfinished"),
            "dictionary",
        ),
        (("own_torch.py:Model", "own_paddle.py:Model", *INPUTS, "--map", "fc=out"), "--map: no parameter or module fc"),
        (("own_torch.py:Model", "own_paddle.py:Model", *INPUTS, "--weights", "none.pt"), "none.pt: cannot be read"),
    ],
)
def test_wrong_models_are_one_line(argv, says, files):
    done = call(*argv)
    assert done.code == 2 and says in done.err and "Traceback" not in done.err
    assert [line for line in done.err.splitlines() if line.startswith("error: ")] == [done.err.splitlines()[-1]]


# Comparisons


@needs_both
def test_equal_models_are_the_same(files):
    out = ("--json", "twin.json", "--html", "twin.html")
    done = call("own_torch.py:Model", "own_paddle.py:Model", *INPUTS, "--steps", 2, "--optimizer", "sgd:0.1", *out)
    assert done.code == 0, done.out + done.err
    assert "first difference" not in done.out and "rung" in done.out
    tree = json.loads((files / "twin.json").read_text())
    assert tree["same"] and {own["rung"] for own in tree["findings"]} == {0, 1, 2, 3}
    assert {own["mode"] for own in tree["findings"] if own["rung"] == 1} == {"evaluation", "training"}
    page = read(files / "twin.html")
    stands_alone(page)
    assert "Certificate" in page.text


@needs_both
def test_difference_is_named_with_its_cause(files):
    done = call("own_torch.py:Model", "own_paddle.py:Wrong", *INPUTS, "--html", "twin.html", "--mode", "evaluation")
    assert done.code == 1
    marked = [line for line in done.out.splitlines() if line.endswith("first difference")]
    assert len(marked) == 1 and "norm LayerNorm" in marked[0] and "layer_norm LayerNorm" in marked[0]
    assert "epsilon" in done.out and "0.001" in done.out
    page = read(files / "twin.html")
    stands_alone(page)
    assert "First difference" in page.text and "Certificate" not in page.text


@needs_both
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--loss", "own.py:loss"), None),
        (("--loss", "own.py:loss,other"), "gradient"),
        (("--loss", "own.py:loss", "--optimizer", "own.py:sgd_torch,sgd_paddle", "--steps", 2), "rate is 0.1"),
    ],
)
def test_losses_and_optimizers_of_the_user_are_used(argv, says, files):
    done = call("own_torch.py:Model", "own_paddle.py:Model", *INPUTS, "--mode", "training", *argv)
    assert done.code == (says is not None), done.out + done.err
    assert says is None or says in done.out.partition("calls of layers")[0], done.out


@needs_both
@pytest.mark.parametrize(("name", "code"), [("convert", 0), ("untransposed", 1)])
def test_conversion_of_the_user_is_judged(name, code, files):
    done = call("own_torch.py:Model", "own_paddle.py:Model", *INPUTS, "--convert", f"own_convert.py:{name}")
    assert done.code == code, done.out + done.err
    assert ("transposed" in done.out.partition("rung  ")[0]) == bool(code)


@needs_both
def test_weights_of_a_file_are_loaded_into_the_first_model(files):
    import torch

    state = UserFiles().load(files / "own_torch.py").Model().state_dict()
    torch.save({name: tensor * 3 for name, tensor in state.items()}, files / "w.pt")
    done = call("own_torch.py:Model", "own_paddle.py:Model", *INPUTS, "--weights", "w.pt")
    assert done.code == 0 and "w.pt" in done.out


@needs_both
def test_weights_that_the_model_does_not_have_are_left_out(files):
    import torch

    state = UserFiles().load(files / "own_torch.py").Model().state_dict()
    torch.save({"scale_of_loss": torch.ones(1), **state}, files / "more.pt")
    done = call("own_torch.py:Model", "own_paddle.py:Model", *INPUTS, "--weights", "more.pt", "--mode", "evaluation")
    assert done.code == 0 and "note: scale_of_loss not in the model: left out" in done.out
    torch.save({"scale_of_loss": torch.ones(1), "words.weight": state["words.weight"]}, files / "less.pt")
    done = call("own_torch.py:Model", "own_paddle.py:Model", *INPUTS, "--weights", "less.pt")
    assert done.code == 2 and "scale_of_loss not in the class" in done.err and "norm.weight" in done.err


# Recordings


@needs_both
@pytest.mark.parametrize("living", ["torch", "paddle"])
def test_recording_stands_in_for_either_model(living, files):
    recorded = "paddle" if living == "torch" else "torch"
    options = ("--optimizer", "momentum:0.1", "--steps", 2, "--seed", 5)
    done = call(f"own_{recorded}.py:Model", *INPUTS, *options, "--record", "one.safetensors")
    assert done.code == 0, done.out + done.err
    record = read_record("one.safetensors")
    assert [own.mode for own in record.recordings] == ["evaluation", "training"] and len(record.steps) == 2
    done = call("one.safetensors", f"own_{living}.py:Model")
    assert done.code == 0, done.out + done.err
    assert "training steps" in done.out and "seed 5" in done.out


@needs_both
def test_two_recordings_are_compared(files):
    call("own_torch.py:ready", *INPUTS, "--record", "one.safetensors")
    call("own_paddle.py:Wrong", *INPUTS, "--record", "two.safetensors")
    done = call("one.safetensors", "two.safetensors")
    assert done.code == 1, done.out + done.err
    assert "each model keeps its own" in done.out


@needs_both
@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (INPUTS, "leave out --input"),
        (("--seed", 3), "seed 0"),
        (("--mode", "training"), "leave out --mode"),
        (("--dtype", "float32"), "not recorded in it"),
        (("--optimizer", "adam:1e-3"), "no training steps"),
        (("--to", "torch"), "keeps its values"),
    ],
)
def test_options_that_contradict_a_recording_are_refused(argv, says, files):
    done = call("own_torch.py:Model", *INPUTS, "--mode", "evaluation", "--record", "one.safetensors")
    assert done.code == 0, done.err
    done = call("one.safetensors", "own_paddle.py:Model", *argv)
    assert done.code == 2 and says in done.err and "Traceback" not in done.err


# What is shown


@needs_both
def test_the_page_shows_the_output_of_its_first_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "twin.md").read_text(encoding="utf-8")
    torch_file, paddle_file = [block for block in blocks(text) if "class Tagger" in block]
    (tmp_path / "mine_torch.py").write_text(torch_file)
    (tmp_path / "mine_paddle.py").write_text(paddle_file)
    done = call("mine_torch.py:Tagger", "mine_paddle.py:Tagger", "--input", "ids=int[4,9]:50")

    def words(line: str) -> str:  # figures depend on versions and machines
        return " ".join(re.sub(r"\d\.\de[-+]\d+", "N", line).split())

    output = [words(line) for line in done.out.splitlines()]
    shown = [words(line) for line in shown_output(text, "tasks.twin")]
    assert len(shown) > 20 and not [line for line in shown if line not in output], done.out


def test_long_tables_show_both_ends_and_the_first_difference(monkeypatch):
    from tasks.twin import table

    calls = rows("evaluation", False) * 30
    wrong = dataclasses.replace(calls[61], outputs=0.5)
    own = verdict(False, rows=(*calls[:61], wrong, *calls[62:]))
    done = run_main(lambda argv: table.print_verdict(own) or 0)
    numbers = [line.split()[0] for line in done.out.splitlines() if "Linear" in line or "Norm" in line]
    assert "2" in numbers and "62>" in numbers and "120" in numbers and len(numbers) < 40
    assert sum("more" in line and "..." in line for line in done.out.splitlines()) == 2


def test_json_has_no_infinity():
    tree = finite({"a": [math.inf, 1.0], "b": {"c": math.nan}})
    assert json.loads(json.dumps(tree, allow_nan=False)) == {"a": ["inf", 1.0], "b": {"c": "nan"}}


def test_state_of_a_model_is_copied(files):
    if "torch" not in INSTALLED:
        pytest.skip("torch is not installed")
    model = UserFiles().load(files / "own_torch.py").Model()
    found = models.state_of(model)
    before = found["out.weight"].copy()
    model.out.weight.data.zero_()
    assert np.array_equal(found["out.weight"], before)
