"""A run folder with its own labeled texts: free before the run begins, and found wherever the folder is."""

from __future__ import annotations

import json

import pytest

from core.errors import UserError
from core.spec.data import RUN_TEXTS, Table
from core.spec.experiment import Experiment, read_experiment, replace
from core.train.run_folder import RunFolder

EXECUTION = {"backend": "torch", "device": "cpu", "classes": ["a", "b"]}


def experiment(source: str) -> Experiment:
    return replace(Experiment(task="classify"), {"data": {"kind": "table", "source": source}})


def test_a_folder_with_texts_alone_becomes_a_run(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(UserError, match="exists"):
        RunFolder.check_free(run)
    (run / RUN_TEXTS).write_text("{}\n", encoding="utf-8")
    RunFolder.check_free(run)
    assert RunFolder.create(run).has_texts_alone
    for name in ("experiment.json", ".lock", "notes.txt"):
        (run / name).write_text("{}", encoding="utf-8")
        with pytest.raises(UserError, match="exists"):
            RunFolder.create(run)
        (run / name).unlink()
    assert (run / RUN_TEXTS).read_text(encoding="utf-8") == "{}\n"
    assert not RunFolder(tmp_path / "none").has_texts_alone


@pytest.mark.parametrize("relative", [False, True])
def test_the_texts_are_found_where_the_folder_is(tmp_path, monkeypatch, relative):
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.create("one" if relative else tmp_path / "one")
    spec = experiment(str(tmp_path / "one" / RUN_TEXTS))
    folder.write_record(spec, EXECUTION)
    content = json.loads((tmp_path / "one" / "experiment.json").read_text(encoding="utf-8"))
    assert content["experiment"]["data"]["source"] == RUN_TEXTS
    (tmp_path / "one").rename(tmp_path / "two")
    read = read_experiment(tmp_path / "two" / "experiment.json")
    assert read == experiment(str(tmp_path / "two" / RUN_TEXTS))
    assert read.stored(tmp_path / "two").data == Table(source=RUN_TEXTS)


@pytest.mark.parametrize("source", ["other/texts.jsonl", "train.csv", "one.jsonl"])
def test_other_paths_stay_as_they_are(tmp_path, source):
    spec = experiment(str(tmp_path / source))
    assert spec.stored(tmp_path / "one") == spec == spec.located(tmp_path / "one")
    reviews = Experiment()
    assert reviews.stored(tmp_path) is reviews.located(tmp_path) is reviews


def test_a_spec_that_is_no_record_names_files_of_the_working_directory(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(experiment(RUN_TEXTS).model_dump(mode="json")), encoding="utf-8")
    assert read_experiment(path).data == Table(source=RUN_TEXTS)
