"""Devices and TF32: what is asked for, which GPU is used, what is said where none can be. No GPU is needed here."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

import backends
import tasks.classify
import tasks.devices
import tasks.digit_sum
import tasks.exploding
import tasks.imdb
import tasks.parity.__main__
import tasks.reviews_zh
from backends import trial
from core import child_process
from core.data.sources import imdb
from core.engine import devices, tf32
from core.engine.devices import Build, Gpu
from core.engine.executor import Executor
from core.errors import Note, UserError
from core.models.model import initial_parameters
from core.parity.layers import engine_of
from core.spec.experiment import Experiment, parse_experiment, read_experiment, replace
from core.train.run_folder import RunFolder
from core.weights.array_file import read_arrays, write_arrays
from tasks.cli.options import DEVICE_HELP
from tests.conftest import loaded, make_dataset, one_line, run_main
from tests.finished_runs import EACH
from tests.run_files import edited

H100 = Gpu(0, "NVIDIA H100", 80 << 30, (9, 0))
A100 = Gpu(1, "NVIDIA A100", 40 << 30, (8, 0))
T4 = Gpu(0, "Tesla T4", 15 << 30, (7, 5))
LISTS = Build("torch", "2.13.0", "13.0", ("sm_75", "sm_80", "sm_90", "sm_120", "compute_120"), "a build for it")
OLD = Build("torch", "2.0.0", "11.8", ("sm_70", "sm_80"), "a build for it")
SILENT = Build("paddle", "2.6.2", "11.8", (), "Paddle 3")
CPU_ONLY = Build("torch", "2.13.0", "none", (), "a build for it")
TRAINING = (tasks.imdb, tasks.classify, tasks.reviews_zh, tasks.digit_sum, tasks.exploding)
"""Every program that has `--device`."""


@pytest.fixture(autouse=True)
def nothing_settled(monkeypatch):
    """Each test begins like a process, and leaves none of its settings behind."""
    monkeypatch.setenv(tf32.TF32_VARIABLE, "0")
    monkeypatch.setattr(tf32, "_tf32", None)
    trial.run_trial.cache_clear()
    yield
    trial.run_trial.cache_clear()
    tf32._tf32 = None
    for name in backends.NAMES:
        if backends.installed(name):
            backends.load(name).runtime.set_precision("float32", "cpu")


@pytest.fixture
def tried(monkeypatch):
    """A trial finds what stands here by number, nothing wrong unless told; the numbers that were tried."""
    troubles: dict[int, str | None] = {}
    asked: list[int] = []

    def tried(framework: str, number: int) -> str | None:
        asked.append(number)
        return troubles.get(number)

    tried.cache_clear = lambda: None
    monkeypatch.setattr(trial, "run_trial", tried)
    monkeypatch.setattr(tasks.devices, "run_trial", tried)
    return troubles, asked


def resolved(request: str, build: Build, gpus: list[Gpu], dtype: str = "float32") -> tuple[str, list[str]]:
    """The device, and the notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        device = devices.resolve(request, dtype, build, lambda: gpus, trial.run_trial)
    assert all(issubclass(warning.category, Note) for warning in caught)
    return device, [str(warning.message) for warning in caught]


def refusal(request: str, build: Build, gpus: list[Gpu], dtype: str = "float32") -> str:
    with pytest.raises(UserError) as error:
        resolved(request, build, gpus, dtype)
    return one_line(error)


# What is asked for


@pytest.mark.parametrize(
    ("request_", "found"),
    [("auto", ("auto", None)), ("cpu", ("cpu", None)), ("gpu", ("gpu", None)), ("gpu:0", ("gpu", 0))],
)
def test_valid_device_requests(request_, found):
    assert devices.parse(request_) == found
    assert devices.parse("gpu:12") == ("gpu", 12)


@pytest.mark.parametrize(
    "wrong", ["", "tpu", "GPU", "gpu:", "gpu:-1", "gpu:x", "gpu:1.0", "gpu:\u0663", "cpu:0", "cuda"]
)
def test_invalid_device_requests(wrong):
    with pytest.raises(UserError) as error:
        devices.parse(wrong)
    assert one_line(error) == f"`device` {wrong}: choose one of auto, cpu, gpu or gpu:N, such as gpu:0"


@pytest.mark.parametrize("program", TRAINING)
def test_programs_accept_the_same_devices(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    positional = ["no.csv"] if program is tasks.classify else []
    for wrong in ("tpu", "gpu:x"):
        done = run_main(program.main, *positional, "--device", wrong)
        assert done.code == 2 and f"--device {wrong}: choose one of auto, cpu, gpu or gpu:N" in done.err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit):
        program.main(["--help"])
    assert DEVICE_HELP in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("program", [tasks.imdb, tasks.digit_sum, tasks.exploding])
def test_programs_refuse_a_missing_gpu(program, backend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for request in ("gpu", "gpu:0", "gpu:3"):
        monkeypatch.setattr(backend.runtime, "gpus", list)
        done = run_main(program.main, "--backend", backend.NAME, "--device", request)
        assert done.code == 2 and done.err.count("\n") == 1 and list(tmp_path.iterdir()) == []
        for part in (f"--device {request}: {backend.NAME}", "sees no GPU", "--device cpu"):
            assert part in done.err


# Architectures


@pytest.mark.parametrize(
    ("architectures", "capability", "served"),
    [
        (("sm_90",), (9, 0), True),
        (("sm_80",), (8, 6), True),  # of the same major version, an older minor one
        (("sm_86",), (8, 0), False),
        (("sm_80",), (9, 0), False),
        (("sm_70", "sm_75", "sm_80", "sm_86"), (8, 9), True),
        (("sm_61", "sm_70", "sm_75", "sm_80", "sm_86"), (9, 0), False),  # Paddle 2.6.2 and Hopper
        (("sm_61",), (6, 0), False),
        (("compute_80",), (9, 0), True),  # compiled when needed
        (("compute_80",), (8, 0), True),
        (("compute_90",), (8, 6), False),
        (("sm_90a",), (9, 0), True),
        (("sm_100a",), (10, 3), False),  # that very one
        (("compute_90a",), (10, 0), False),
        (("sm_100f",), (10, 3), True),  # its family
        (("compute_100f",), (10, 3), True),
        (("compute_100f",), (12, 0), False),
        (("sm_120",), (12, 1), True),
        (("sm_100",), (12, 0), False),
        (("sm_75", "gfx90a"), (8, 0), False),
        (("gfx90a",), (9, 0), None),
        ((), (9, 0), None),
    ],
)
def test_architectures_that_serve_a_capability(architectures, capability, served):
    assert devices.serves(architectures, capability) is served


# Which device is taken


def test_cpu_request_lists_no_gpus():
    def gpus():
        raise AssertionError("asked")

    assert devices.resolve("cpu", "float32", LISTS, gpus, trial.run_trial) == "cpu"


@pytest.mark.parametrize("build", [LISTS, SILENT, CPU_ONLY])
def test_auto_without_a_gpu_is_the_cpu_without_a_note(build, tried):
    assert resolved("auto", build, []) == ("cpu", [])


def test_the_first_usable_gpu(tried):
    for request in ("auto", "gpu", "gpu:0"):
        assert resolved(request, LISTS, [H100, A100]) == ("gpu:0", [])
    assert resolved("gpu:1", LISTS, [H100, A100]) == ("gpu:1", [])
    assert tried[1] == [0, 0, 0, 1]


@pytest.mark.parametrize("request_", ["auto", "gpu"])
def test_unusable_gpu_is_skipped_with_a_note(request_, tried):
    device, notes = resolved(request_, OLD, [H100, A100])
    assert device == "gpu:1" and tried[1] == [1]  # what arithmetic rules out is not tried
    assert notes == [
        "GPU 0 (NVIDIA H100, compute capability 9.0) is not used: torch 2.0.0 (CUDA 11.8) has no kernels for it, only"
        " for sm_70, sm_80; install a build for it; using GPU 1"
    ]


def test_auto_falls_back_to_the_cpu_with_a_note(tried):
    device, notes = resolved("auto", OLD, [H100])
    assert device == "cpu" and len(notes) == 1 and "\n" not in notes[0]
    for part in ("GPU 0 (NVIDIA H100, compute capability 9.0) is not used", "torch 2.0.0 (CUDA 11.8) has no kernels"):
        assert part in notes[0]
    assert "install a build for it" in notes[0] and notes[0].endswith("using the CPU")


@pytest.mark.parametrize("request_", ["gpu", "gpu:0"])
def test_requested_unusable_gpu_is_refused(request_, tried):
    message = refusal(request_, OLD, [H100])
    assert message == (
        f"`device` {request_}: GPU 0 (NVIDIA H100, compute capability 9.0) cannot be used: torch 2.0.0 (CUDA 11.8) has"
        " no kernels for it, only for sm_70, sm_80; install a build for it; or use `device` cpu"
    )


def test_build_without_architectures_is_tried(tried):
    assert resolved("gpu", SILENT, [H100]) == ("gpu:0", [])
    tried[0][0] = "was killed by signal 6 (SIGABRT)"
    message = refusal("gpu", SILENT, [H100])
    for part in ("GPU 0 (NVIDIA H100", "paddle 2.6.2 (CUDA 11.8) most likely has no kernels", "9.0", "SIGABRT"):
        assert part in message
    assert "install Paddle 3" in message and resolved("auto", SILENT, [H100])[0] == "cpu"


def test_failed_trial_of_a_supported_gpu(tried):
    tried[0][0] = "exited with code 1: RuntimeError: no cuDNN"
    message = refusal("gpu", LISTS, [H100])
    assert "fails on it" in message and "no cuDNN" in message and "driver" in message


def test_missing_gpu_number(tried):
    message = refusal("gpu:7", LISTS, [H100, A100])
    assert message.startswith("`device` gpu:7: no GPU 7: choose one of GPU 0 (NVIDIA H100")
    assert "GPU 1 (NVIDIA A100, compute capability 8.0)" in message and tried[1] == []


def test_no_gpu_at_all(tried):
    for_cpu = refusal("gpu", CPU_ONLY, [])
    assert for_cpu == (
        "`device` gpu: torch 2.13.0 (built for the CPU only) sees no GPU: use `device` cpu, or install a build for it"
    )
    assert "nvidia-smi" in refusal("gpu:0", LISTS, [])


def test_gpus_that_cannot_be_listed():
    def gpus():
        raise RuntimeError("CUDA unknown error\nand more")

    with pytest.raises(UserError) as error:
        devices.resolve("gpu", "float32", LISTS, gpus, trial.run_trial)
    assert "cannot list GPUs: CUDA unknown error and more" in one_line(error)
    with pytest.warns(Note, match="cannot list GPUs"):
        assert devices.resolve("auto", "float32", LISTS, gpus, trial.run_trial) == "cpu"


def test_both_backends_follow_these_rules(backend, tried, monkeypatch):
    """The thin functions are faked; what lies between them and a program is real."""
    build = Build(backend.NAME, "9.9", "11.8", ("sm_80",), "another")
    monkeypatch.setattr(backend.runtime, "build", lambda: build)
    monkeypatch.setattr(backend.runtime, "gpus", lambda: [H100, A100])
    with pytest.warns(Note, match="GPU 0 .* is not used: .* 9.9 .*using GPU 1"):
        assert backend.resolve_device("auto") == "gpu:1"
    assert backend.resolve_device("gpu:1") == "gpu:1" and backend.resolve_device("cpu") == "cpu"
    with pytest.raises(UserError, match="`device` gpu:0: GPU 0"):
        backend.resolve_device("gpu:0")


def test_a_note_is_one_printed_line(tried):
    def main(argv):
        devices.resolve("auto", "float32", OLD, lambda: [H100], trial.run_trial)
        return 0

    done = run_main(main)
    assert done.code == 0 and done.out == "" and done.err.count("\n") == 1
    assert done.err.startswith("note: GPU 0 (NVIDIA H100, compute capability 9.0) is not used: torch 2.0.0")


def test_description_of_a_build(backend):
    build = backend.build()
    assert build.framework == backend.NAME and build.version == backend.versions()[backend.NAME]
    assert build.cuda == backend.versions()["cuda"] and build.install
    assert all(re.fullmatch(r"(sm|compute)_\d+[af]?|gfx\w+", name) for name in build.architectures)
    assert all(isinstance(gpu, Gpu) for gpu in backend.gpus())


# A process of its own

SAY = "from core.child_process import send_result; "


def test_child_process_that_replies():
    noisy = SAY + "print('noise'); send_result({'a': [1, None]}); print('noise', end='')"
    assert child_process.run_code(noisy, 60) == ({"a": [1, None]}, "")
    # It had answered before it died.
    assert child_process.run_code(SAY + "import os; send_result(1.5); os.abort()", 60) == (1.5, "")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os.abort()", "was killed by signal 6 (SIGABRT)"),
        ("import os; os.kill(os.getpid(), 11)", "was killed by signal 11 (SIGSEGV)"),
        ("import os; os._exit(255)", "exited with code 255"),
        ("import os; os._exit(0)", "returned no result"),
        ("print('garbage')", "returned no result"),
        ("import os; os.write(1, bytes(range(256)) * 1000)", "returned no result"),
        ("print('seqtwin result: {half')", "returned an unreadable result"),
        ("raise RuntimeError('no kernel image\\nis there')", "exited with code 1: RuntimeError: no kernel image"),
        ("import sys; sys.exit('a word at last')", "exited with code 1: a word at last"),
    ],
)
def test_child_process_that_fails(code, says, capfd):
    answer, trouble = child_process.run_code(code, 60)
    assert answer is None and trouble == says
    assert capfd.readouterr() == ("", "")


def test_child_process_that_hangs():
    answer, trouble = child_process.run_code(
        "import time, signal; signal.signal(15, signal.SIG_IGN); time.sleep(600)", 1.0
    )
    assert answer is None and trouble == "did not end within 1 seconds"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ((1e-6, ""), None),
        ((0.0, ""), None),
        ((0.7, ""), "returned wrong numbers, 0.7 from those of the CPU"),
        ((float("inf"), ""), "returned wrong numbers, inf from those of the CPU"),
        (("fine", ""), "returned an unreadable result"),
        ((None, "was killed by signal 6 (SIGABRT)"), "was killed by signal 6 (SIGABRT)"),
    ],
)
def test_result_of_a_trial(said, found, monkeypatch):
    asked = []
    monkeypatch.setattr(trial, "call", lambda *given, limit: asked.append(given) or said)
    assert trial.run_trial("paddle", 3) == found == trial.run_trial("paddle", 3)
    assert asked == [(trial.compare_by_name, "paddle", "gpu:3")]  # asked once, and kept


@pytest.mark.slow
def test_trial_without_a_gpu(backend):
    """Paddle ends the process there. Ours goes on, and has a line."""
    if backend.gpus():
        pytest.skip("there is a GPU")
    trouble = trial.run_trial(backend.NAME, 0)
    assert trouble and "\n" not in trouble and len(trouble) < 250 and trouble.startswith(("exited", "was killed"))


class Broken:
    """A backend's layers, which answer with something else on a GPU."""

    def __init__(self, side, change, among=("builtin", "packed")):
        def probe(encoder, arrays, lengths, executor):
            own = side.LayerProbe(encoder, arrays, lengths, Executor("cpu", executor.implementation))
            if executor.device != "cpu" and executor.implementation in among:
                forward = own.forward
                own.forward = lambda: {name: change(array) for name, array in forward().items()}
            return own

        self.LayerProbe = probe


def test_trial_compares_results(backend):
    assert trial.compare_with_cpu(Broken(backend, lambda array: array), "gpu:0") == 0.0
    rounded = trial.compare_with_cpu(Broken(backend, lambda array: array.astype(np.float16)), "gpu:0")
    assert 0 < rounded < trial.TRIAL_TOLERANCE
    assert trial.compare_with_cpu(Broken(backend, np.zeros_like), "gpu:0") > trial.TRIAL_TOLERANCE
    for implementation in ("builtin", "packed"):
        assert trial.compare_with_cpu(Broken(backend, np.zeros_like, implementation), "gpu:0") > trial.TRIAL_TOLERANCE
    assert trial.compare_with_cpu(Broken(backend, lambda array: array * np.nan), "gpu:0") == float("inf")


# python -m tasks.devices


def answer_of(build: Build, *gpus: Gpu) -> tuple[object, str]:
    tree = {"build": vars(build), "gpus": [vars(gpu) for gpu in gpus]}
    return json.loads(json.dumps(tree)), ""


@pytest.mark.slow
def test_devices_program():
    done = run_main(tasks.devices.main)
    assert done.code == 0 and done.err == "" and done.out.startswith("cpu ")
    for name in backends.NAMES:
        line = next(line for line in done.out.splitlines() if line.startswith(name))
        version = backends.load(name).versions()[name] if backends.installed(name) else "pip install"
        assert version in line


def test_devices_program_on_other_machines(tried, monkeypatch):
    tried[0][1] = "did not end within 120 seconds"
    answers = {"paddle": (None, "was killed by signal 11 (SIGSEGV)"), "torch": answer_of(LISTS, H100, A100)}
    monkeypatch.setattr(backends, "installed", lambda name: True)
    monkeypatch.setattr(tasks.devices, "call", lambda function, name, limit: answers[name])
    done = run_main(tasks.devices.main)
    assert done.code == 0
    assert "paddle   installed but unusable: the process that probed it was killed by signal 11" in done.out
    assert "torch    2.13.0, built for CUDA 13.0; kernels for: sm_75, sm_80, sm_90, sm_120, compute_120" in done.out
    assert "GPU 0 (NVIDIA H100, compute capability 9.0), 80 GiB: can train: --device gpu:0" in done.out
    assert "GPU 1 (NVIDIA A100, compute capability 8.0), 40 GiB: cannot train: torch 2.13.0" in done.out
    answers["paddle"], answers["torch"] = answer_of(SILENT, H100), (["nonsense"], "")
    done = run_main(tasks.devices.main)
    assert done.code == 0 and "kernels for: not listed" in done.out
    assert "probed it returned an unreadable result" in done.out
    monkeypatch.setattr(backends, "installed", lambda name: False)
    done = run_main(tasks.devices.main)
    assert done.code == 0
    assert "pip install torch" in done.out and "pip install paddlepaddle" in done.out


# TF32

TF32 = replace(Experiment(), {"training.dtype": "tf32"})


def test_the_spec_with_tf32():
    assert parse_experiment(json.loads(TF32.model_dump_json()), "here") == TF32
    assert TF32.training.dtype == "tf32" and TF32.training.array_dtype == "float32"
    for dtype in ("float32", "float64"):
        assert replace(TF32, {"training.dtype": dtype}).training.array_dtype == dtype
    for wrong in ("bf16", "float16"):
        with pytest.raises(UserError, match="training.dtype"):
            replace(TF32, {"training.dtype": wrong})


def test_tf32_needs_a_gpu_that_has_it(tried):
    assert resolved("auto", LISTS, [H100], "tf32") == ("gpu:0", [])
    assert "a CPU has no TF32" in refusal("cpu", LISTS, [H100], "tf32")
    assert "a CPU has no TF32" in refusal("auto", LISTS, [], "tf32")
    message = refusal("gpu", LISTS, [T4], "tf32")
    assert "GPU 0 (Tesla T4, compute capability 7.5) cannot be used: TF32 requires" in message
    assert "Tesla T4" in refusal("auto", LISTS, [T4], "tf32")
    assert resolved("auto", LISTS, [T4, A100], "tf32")[0] == "gpu:1"
    assert resolved("auto", LISTS, [T4, A100], "float32")[0] == "gpu:0"


def test_bfloat16_is_supported_everywhere(tried):
    """Also where there is no TF32: it is float32 that is rounded."""
    assert resolved("auto", LISTS, [H100], "bfloat16") == ("gpu:0", [])
    assert resolved("cpu", LISTS, [H100], "bfloat16") == ("cpu", [])
    assert resolved("auto", CPU_ONLY, [], "bfloat16") == ("cpu", [])
    assert resolved("gpu", LISTS, [T4], "bfloat16") == ("gpu:0", [])
    assert resolved("auto", LISTS, [T4, A100], "tf32")[0] == "gpu:1"


def test_bfloat16_beside_other_dtypes_in_one_process(monkeypatch):
    assert tf32.settle_tf32("bfloat16", "cpu") is False and tf32._tf32 is None  # which changes nothing
    assert tf32.settle_tf32("bfloat16", "gpu:0") is True
    assert tf32.TF32_VARIABLE not in os.environ
    assert tf32.settle_tf32("tf32", "gpu:0") is True  # the same setting
    for dtype in ("float32", "float64"):
        with pytest.raises(UserError, match=f"dtype {dtype}: this process already used a GPU with TF32"):
            tf32.settle_tf32(dtype, "gpu:0")
    monkeypatch.setattr(tf32, "_tf32", False)
    with pytest.raises(UserError, match="dtype bfloat16: this process already used a GPU without TF32"):
        tf32.settle_tf32("bfloat16", "gpu:0")


@pytest.mark.parametrize("dtype", ["float32", "float64", "tf32", "bfloat16"])
def test_precision_settings_by_dtype(backend, dtype, tried, monkeypatch):
    monkeypatch.setattr(backend.runtime, "build", lambda: LISTS)
    monkeypatch.setattr(backend.runtime, "gpus", lambda: [H100])
    monkeypatch.setenv(tf32.TF32_VARIABLE, "1")  # a user's own, which does not say what the spec means
    assert backend.resolve_device("auto", dtype) == "gpu:0"
    allowed = dtype in ("tf32", "bfloat16")
    assert os.environ.get(tf32.TF32_VARIABLE) == (None if allowed else "0")
    other = "float32" if allowed else "tf32"
    with pytest.raises(UserError) as error:
        backend.runtime.set_precision(other, "gpu:0")
    assert "this process already used a GPU" in one_line(error)
    assert backend.resolve_device("cpu", "float32") == "cpu"  # which changes nothing
    assert tf32._tf32 is allowed


@pytest.mark.parametrize("dtype", ["float32", "tf32", "bfloat16"])
def test_torch_tf32_settings(dtype):
    torch = loaded("torch").framework.torch
    backends.load("torch").runtime.set_precision(dtype, "gpu:0")
    allowed = dtype in ("tf32", "bfloat16")
    assert torch.backends.cuda.matmul.allow_tf32 is allowed
    assert torch.backends.cudnn.allow_tf32 is allowed
    if hasattr(torch.backends.cudnn, "rnn"):  # torch 2.9
        assert (torch.backends.cudnn.rnn.fp32_precision == "tf32") is allowed


@pytest.mark.slow
def test_tf32_is_off_from_the_first_import(backend):
    code = (
        SAY + f"import os, backends; backends.load({backend.NAME!r}); send_result(os.environ['{tf32.TF32_VARIABLE}'])"
    )
    assert child_process.run_code(code, 60) == ("0", "")


@pytest.mark.parametrize("program", TRAINING)
def test_programs_refuse_tf32_on_a_cpu(program, backend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.csv").write_text("text,label\n" + "fine,a\nawful,b\n" * 20)
    positional = ["own.csv"] if program is tasks.classify else []
    argv = (*positional, "--backend", backend.NAME, "--device", "cpu", "--dtype", "tf32")
    done = run_main(program.main, *argv)
    assert done.code == 2 and "dtype tf32: a CPU has no TF32: use --dtype float32, or a GPU" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["own.csv"]


def test_an_engine_refuses_tf32_on_a_cpu(backend):
    parameters = initial_parameters(TF32.model, 0, "float32")
    with pytest.raises(UserError, match="a CPU has no TF32"):
        backend.Engine(TF32.model, TF32.training, parameters, Executor("cpu", "builtin"))


def test_arrays_are_float32_with_tf32(backend, rng, monkeypatch):
    """On a CPU that is told it could, a step is float32's."""
    changes = {"model.embedding.vocab_size": 20, "model.embedding.dim": 4, "model.encoder.hidden_size": 3}
    monkeypatch.setattr(backend.engine, "set_precision", lambda dtype, device: None)
    batch = make_dataset(rng, 6).batch(np.arange(6))
    found = []
    for dtype in ("float32", "tf32"):
        spec = replace(Experiment(), {**changes, "training.class_weights": [1, 2], "training.dtype": dtype})
        parameters = initial_parameters(spec.model, 0, spec.training.array_dtype)
        engine = backend.Engine(spec.model, spec.training, parameters, Executor("cpu", "builtin"))
        engine.train_step(batch, 0, 0.1)
        found.append({**engine.parameters(), **engine.moments(), "logits": engine.logits(batch)})
    assert {array.dtype.name for array in found[1].values()} == {"float32"}
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


def test_the_ladder_refuses_tf32(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.json").write_text(TF32.model_dump_json())
    for argv in (("--dtype", "tf32"), ("--config", "x.json")):
        done = run_main(tasks.parity.__main__.main, *argv, "--backends", *filter(backends.installed, backends.NAMES))
        assert (
            done.code == 2
            and "dtype tf32: the parity check supports float64, float32 and bfloat16, on the CPU" in done.err
        )
    with pytest.raises(UserError, match="the parity check supports"):
        engine_of(None, TF32, {})


def test_run_in_tf32_can_be_read_and_used_anywhere(tmp_path, monkeypatch, finished_runs):
    """Its arrays are float32, and so is what is computed with them afterwards; a resume needs a GPU."""
    monkeypatch.setattr(imdb, "PER_CLASS", EACH)
    monkeypatch.chdir(tmp_path)
    name = finished_runs.backend
    shutil.copytree(finished_runs.any_run, "run")
    for file in ("best.safetensors", "last.safetensors"):
        arrays, state = read_arrays(Path(f"run/{file}"))
        write_arrays(Path(f"run/{file}"), {key: array.astype(np.float32) for key, array in arrays.items()}, state)
    with edited(Path("run/experiment.json")) as record:
        record["experiment"]["training"]["dtype"] = "float32"
    before = run_main(tasks.imdb.main, "predict", "run", "a wonderful film", "--backend", name).out
    with edited(Path("run/experiment.json")) as record:
        record["experiment"]["training"]["dtype"] = "tf32"
    assert read_experiment("run/experiment.json").training.dtype == "tf32"
    assert RunFolder.open(Path("run")).read_record()[0].training.dtype == "tf32"
    for own in filter(backends.installed, backends.NAMES):
        where = ("--backend", own, "--device", "cpu")
        assert run_main(tasks.imdb.main, "predict", "run", "a wonderful film", *where).code == 0
        done = run_main(tasks.imdb.main, "evaluate", "run", "--cache-dir", finished_runs.cache, *where)
        assert done.code == 0, done.err
    assert run_main(tasks.imdb.main, "predict", "run", "a wonderful film", "--backend", name).out == before
    Path("run/result.json").unlink()
    done = run_main(tasks.imdb.main, "--resume", "run", "--cache-dir", finished_runs.cache, "--device", "cpu")
    assert done.code == 2 and "dtype tf32: a CPU has no TF32" in done.err
