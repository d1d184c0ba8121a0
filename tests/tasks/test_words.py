"""The program `python -m tasks.words`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tasks.words
from core.train.run_folder import RunFolder
from core.words import vector_cache
from tests.conftest import ROOT, Done, check_refused, run_main

FAMILY = ["man", "woman", "king", "queen", "boy", "girl", "uncle", "aunt", "apple", "pear", "Apple"]


@pytest.fixture
def vectors(tmp_path, rng) -> Path:
    """Vectors in which a male word + one direction is its female word; `nothing` is zero."""
    base, female = rng.normal(size=(4, 64)), rng.normal(size=64)
    pairs = [own + shift for own in base for shift in (rng.normal(size=64) * 0.01, female)]
    values = [*pairs, *rng.normal(size=(3, 64)), np.zeros(64)]
    path = tmp_path / "family.txt"
    lines = (f"{word} {' '.join(map(str, row))}\n" for word, row in zip([*FAMILY, "nothing"], values, strict=True))
    path.write_text("".join(lines))
    return path


@pytest.fixture
def call(tmp_path):
    def run(*argv: object) -> Done:
        return run_main(tasks.words.main, *argv, "--cache-dir", tmp_path / "cache")

    return run


def listed(done: Done) -> list[list[str]]:
    """The words of each query."""
    assert done.code == 0, done.err
    tables: list[list[str]] = []
    for line in done.out.splitlines():
        if line.startswith("query"):
            tables.append([])
        elif line.startswith(" "):
            tables[-1].append(line.split()[-1])
    return tables


def test_nearest(call, vectors, tmp_path):
    done = call("nearest", vectors, "apple", "boyy", "king", "--count", 3, "--json", tmp_path / "a.json")
    assert "12 words, 64 dimensions" in done.out
    assert done.err == f"warning: {vectors} has no vector for 'boyy' (nearest spellings: boy)\n"
    tables = listed(done)
    assert [len(own) for own in tables] == [3, 3] and "king" not in tables[1]
    tree = json.loads((tmp_path / "a.json").read_text())
    assert [query["words"] for query in tree["queries"]] == [["apple"], ["king"]]
    assert [[own["word"] for own in query["nearest"]] for query in tree["queries"]] == tables
    assert tree["queries"][0]["nearest"][0]["rank"] == FAMILY.index(tables[0][0]) + 1
    (together,) = listed(call("nearest", vectors, "apple", "king", "--together", "--count", 100))
    assert sorted(together) == sorted(set(FAMILY) - {"apple", "king"})


def test_analogy_and_its_map(call, vectors, tmp_path):
    picture, values = tmp_path / "map.png", tmp_path / "map.json"
    done = call("analogy", vectors, "man", "woman", "king", "--count", 2, "--map", picture, "--json", values)
    assert listed(done)[0][0] == "queen" and "query    man is to woman as king is to" in done.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    tree = json.loads(values.read_text())
    assert tree["words"] == ["man", "woman", "king"] and tree["nearest"][0]["word"] == "queen"
    words = [own["word"] for own in tree["map"]["words"]]
    assert words[:4] == ["man", "woman", "king", "queen"] and len(words) == 5
    assert tree["map"]["explained"][0] >= tree["map"]["explained"][1] > 0
    # The values of the vectors are not lost under the names of the results.
    assert tree["dim"] == 64


def test_map_with_neighbors(call, vectors, tmp_path):
    done = call(
        "map",
        vectors,
        "apple",
        "king",
        "king",
        "--neighbors",
        2,
        "--out",
        tmp_path / "m.png",
        "--json",
        tmp_path / "m.json",
    )
    assert done.code == 0 and (tmp_path / "m.png").is_file()
    tree = json.loads((tmp_path / "m.json").read_text())
    assert [own["word"] for own in tree["map"]["words"]][:2] == ["apple", "king"]
    assert f"{len(tree['map']['words'])} words, the axes explain" in done.out


def test_score(call, vectors, tmp_path):
    pairs, questions = tmp_path / "pairs.tsv", tmp_path / "questions.txt"
    pairs.write_text("# comment\nKing\tqueen\t9\nman\tgirl\t7\napple\tpear\t1\nman\tfox\t3\n")
    questions.write_text(
        ": family\nMan woman king queen\nboy girl man woman\nboy girl fox vixen\n: gram1\nman woman boy apple\n"
    )
    done = call("score", vectors, "--similarity", pairs, "--analogies", questions, "--json", tmp_path / "s.json")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert any(line.startswith("pairs    pairs.tsv: Spearman ") and line.endswith("3 of 4 pairs") for line in lines)
    assert "analogy  questions.txt: accuracy 0.6667, 3 of 4 questions" in lines
    assert [line for line in lines if line.startswith(" ")] == [
        "         1.0000  family: 2 of 2",
        "         0.0000  gram1: 0 of 1",
        "         1.0000  semantic: 2 of 2",
        "         0.0000  syntactic: 0 of 1",
    ]
    tree = json.loads((tmp_path / "s.json").read_text())
    assert tree["similarity"][str(pairs)]["used"] == 3 and tree["scored"] == 12
    assert tree["analogies"][str(questions)]["summary"][-1] == {
        "name": "all",
        "accuracy": 2 / 3,
        "right": 2,
        "used": 3,
        "total": 4,
    }
    # Only the first words take part: apple and pear are not among them.
    done = call("score", vectors, "--similarity", pairs, "--restrict", 8)
    assert "scored on the first 8" in done.out and "2 of 4 pairs" in done.out


def test_a_run_folder(call, finished_runs, tmp_path):
    """The rows of its words, without PAD and UNK; or its file of vectors."""
    run = finished_runs.any_run
    folder = RunFolder.open(run)
    model = folder.read_record()[0].model
    words, table = folder.read_vocabulary(model).tokens, folder.read_best(model)["embedding.weight"]
    query = words.index("wonderful")
    cosines = table @ table[query] / np.linalg.norm(table, axis=1) / np.linalg.norm(table[query])
    order = [words[row] for row in np.argsort(-cosines) if row > 1 and row != query]
    done = call("nearest", run, "wonderful", "--count", 5)
    assert listed(done) == [order[:5]] and f"{len(words) - 2} words, {table.shape[1]} dimensions" in done.out
    assert "no vector for '<unk>'" in call("nearest", run, "<unk>").err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "vectors.txt").write_text("2 2\nred 1 0\nblue 1 1\n")
    done = call("nearest", tmp_path / "run", "red")
    assert listed(done) == [["blue"]] and "0.7071" in done.out


def test_files_are_cached_where_asked(call, vectors, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_cache, "SMALL", 0)
    first, second = call("nearest", vectors, "boy"), call("nearest", vectors, "boy")
    assert first == second and len(list((tmp_path / "cache").glob("*.npy"))) == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("nearest", "V", "foxx", "vixen"), ("has no vector for 'foxx' (no similar spelling), 'vixen'", "other words")),
        (("nearest", "V", "nothing"), ("'nothing' (its vector is zero)",)),
        (("nearest", "V", "boy", "--count", 0), ("--count 0: expected at least 1, at most 1000",)),
        (("nearest", "V", "boy", "--map", "a.jpg"), ("--map a.jpg: expected a name that ends in .png",)),
        (("nearest", "V", "boy", "--json", "V"), ("expected a name that ends in .json",)),
        (("nearest", "V"), ("WORD",)),
        (("nearest", "nowhere.txt", "boy"), ("nowhere.txt: no such file of word vectors", "glove-6b-50d")),
        (("nearest", "DIR", "boy"), ("experiment.json is missing",)),
        (("nearest", "EMPTY", "boy"), ("empty.txt: empty",)),
        (("nearest", "CUT", "boy"), ("cut.txt: the last line, 11, has no line ending",)),
        (("nearest", "MIXED", "boy"), ("mixed.txt: line 12 has 2 numbers after its word, expected 64",)),
        (("analogy", "V", "man", "woman", "kingg"), ("'kingg' (nearest spellings: king)",)),
        (("map", "V", "man", "--out", "m.png"), ("a map needs at least two words",)),
        (("map", "V", "man", "king", "--out", "nowhere/m.png"), ("--out nowhere/m.png: no folder nowhere",)),
        (("map", "V", "man", "--neighbors", -1, "--out", "m.png"), ("--neighbors -1: expected at least 0",)),
        (("score", "V"), ("nothing to score on: give --similarity FILE or --analogies FILE",)),
        (("score", "V", "--similarity", "PAIRS", "--restrict", 0), ("--restrict 0: expected at least 1",)),
        (("score", "V", "--similarity", "PAIRS"), ("pairs.tsv: 0 of 1 pairs have all their words among the first 12",)),
        (("score", "V", "--analogies", "QUESTIONS"), ("questions.txt: 0 of 1 questions have all their words",)),
        (("score", "V", "--analogies", "PAIRS"), ("pairs.tsv: line 1: got 'fox vixen 7', expected four words",)),
        (("score", "V", "--similarity", "EMPTY"), ("empty.txt: no pairs of words",)),
        (("rhyme", "V"), ("invalid choice",)),
    ],
)
def test_bad_input_is_one_line(vectors, tmp_path, argv, says):
    content = vectors.read_text()
    files = {
        "V": (vectors.name, content),
        "EMPTY": ("empty.txt", ""),
        "CUT": ("cut.txt", content[: content.index("nothing") - 5]),
        "MIXED": ("mixed.txt", content[: content.index("nothing")] + "nothing 1 2\n"),
        "PAIRS": ("pairs.tsv", "fox\tvixen\t7\n"),
        "QUESTIONS": ("questions.txt", ": a\nfox vixen man woman\n"),
    }
    for name, text in files.values():
        (tmp_path / name).write_text(text)
    paths = {key: tmp_path / name for key, (name, _) in files.items()} | {"DIR": tmp_path}
    done = run_main(tasks.words.main, *(paths.get(part, part) for part in argv))
    assert done.code == 2 and done.err.startswith("error: ") and done.err.count("\n") == 1, done.err
    assert not done.out or argv[0] in ("map", "score")
    for part in says:
        assert part in done.err


def test_existing_files_are_kept(vectors, tmp_path):
    taken = tmp_path / "taken.png"
    taken.write_bytes(b"")
    argv = ("map", vectors, "man", "king", "--out", taken)
    check_refused(tasks.words.main, *argv, says=f"{taken}: exists; choose another name with --out", folder=tmp_path)


@pytest.mark.slow
def test_no_framework_is_imported(vectors, tmp_path):
    """Nor other slow libraries: an answer takes less than a second."""
    code = (
        "import sys, tasks.words; tasks.words.main(sys.argv[1:]);"
        "print([name for name in ('torch', 'paddle', 'pandas', 'pyarrow', 'matplotlib') if name in sys.modules])"
    )
    argv = [sys.executable, "-c", code, "nearest", str(vectors), "boy", "--cache-dir", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
