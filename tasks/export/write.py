"""Write the files of an export: the model, predict.py, and what predict.py reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import backends
from core.checked_json import digest_of
from core.data.ngrams.linear import NgramModel
from core.data.tokenizer_rules import UNICODE_VERSION
from core.errors import UserError
from core.export.graph import Graph
from core.export.ngram_tables import tables_of
from core.export.onnx_model import onnx_model
from core.export.packages import load
from core.export.script import ngram_strings, rules, script
from core.files import write_bytes_atomic, write_json_atomic, write_text_atomic
from core.models.exported import input_names
from core.models.heads import TokenHead
from core.models.heads.tokens import chain_of
from core.models.types import Arrays
from core.spec.experiment import Experiment
from core.train.run_folder import RunFolder
from tasks.cli.framework import load_backend
from tasks.export.formats import FORMATS, ONNX_FILE

CARD = "export.json"


def write_export(out: Path, name: str, folder: RunFolder, experiment: Experiment, execution: dict) -> dict:
    """Write all files to the new folder `out`; return the content of export.json, which the check completes.

    After an error no folder remains.
    """
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be created ({error.strerror}): choose another folder with --out") from None
    try:
        return _write_files(out, name, folder, experiment, execution)
    except BaseException:
        shutil.rmtree(out)
        raise


def _write_files(out: Path, name: str, folder: RunFolder, experiment: Experiment, execution: dict) -> dict:
    model, wanted = experiment.model, FORMATS[name]
    arrays = {} if model.is_linear else folder.read_best(model)
    fitted = folder.read_ngrams(model)
    tables = {} if fitted is None else tables_of(fitted.model)
    card = card_of(name, folder, experiment, execution, arrays)
    if wanted.backend is None:
        note = {key: card[key] for key in ("card", "spec")}
        graph = Graph(wanted.int8, experiment.training.dtype == "bfloat16")
        write_bytes_atomic(out / ONNX_FILE, onnx_model(graph, model, arrays, tables, note))
        card["model_files"] = [ONNX_FILE]
    else:
        card["model_files"] = list(load_backend(wanted.backend).write_model(out, model, arrays, tables))
    if not model.is_linear:
        write_json_atomic(out / "vocabulary.json", folder.read_vocabulary(model).tokens, None)
    _write_reading(out, experiment, None if fitted is None else fitted.model)
    write_text_atomic(out / "predict.py", script(model, experiment.text, execution["classes"], wanted.runtime))
    write_json_atomic(out / CARD, card)
    return card


def _write_reading(out: Path, experiment: Experiment, ngrams: NgramModel | None) -> None:
    """Write tokenizer.json, and ngrams.json for a model with n-grams."""
    write_json_atomic(out / "tokenizer.json", rules(experiment.model, experiment.text))
    if ngrams is not None:
        write_json_atomic(out / "ngrams.json", ngram_strings(ngrams), None)


def card_of(name: str, folder: RunFolder, experiment: Experiment, execution: dict, arrays: Arrays) -> dict:
    """Return export.json: the model card, the source run, versions, and what predict.py reads of it."""
    model, result = experiment.model, folder.read_result()
    tree = experiment.model_dump(mode="json")
    test, wanted = result["test"], FORMATS[name]
    backend = backends.NAMES[0] if wanted.backend is None else wanted.backend
    packages = {own: load(own).__version__ for own in ("onnx", "onnxruntime")} if wanted.backend is None else {}
    written_by = packages or load_backend(backend).versions()
    found = {
        "format": 1,
        "to": name,
        "card": f"{model.describe()}; test accuracy {test['accuracy']:.4f}; trained by {result['backend']} on"
        f" {execution['data']['description']}",
        "run": str(folder.path),
        "task": experiment.task,
        "spec": digest_of(tree),
        "trained_with": execution["versions"],
        "written_with": {**written_by, "unicode": UNICODE_VERSION},
        "classes": execution["classes"],
        "inputs": input_names(model),
    }
    if isinstance(model.head, TokenHead) and model.head.crf:
        found["crf"] = {part: own.astype(float).tolist() for part, own in vars(chain_of(arrays)).items()}
    return found
