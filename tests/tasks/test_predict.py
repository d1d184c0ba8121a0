"""Prediction for texts as people have them: columns, encodings, spreadsheets, texts without tokens."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tasks.classify
from core.data.sources.table import read_rows
from core.files import as_spreadsheet_text
from tasks.run.predict_file import CHUNK, Text, chunks_of, result_columns
from tests.conftest import ROOT, Done, check_refused, fresh_rng, run_main

RUN = ROOT / "tests/core/train/format1/finished-torch"
"""Its classes are bad and good, and its tokenizer drops signs."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def predict(*argv: object) -> Done:
    done = run_main(tasks.classify.main, "predict", RUN, *argv)
    assert done.code == 0, done.err
    return done


def refused(*argv: object, says: str) -> None:
    check_refused(tasks.classify.main, "predict", RUN, *argv, says=says, folder=Path.cwd())


def cells(path: str) -> list[list[str]]:
    content = Path(path).read_bytes()
    assert content.startswith(b"\xef\xbb\xbf") and content.count(b"\xef\xbb\xbf") == 1
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


UNKNOWN = re.compile(r"note: .*\d of \d.* unknown \(not in the run's vocabulary\)\n")


def told(done: Done) -> str:
    """The notes of a prediction, without those about unknown words, which these short texts have."""
    return UNKNOWN.sub("", done.err)


def answers(done: Done) -> list[tuple[str, str]]:
    rows = [line.split("\t") for line in done.out.split("\n")[:-1]]
    return [(text, label) for label, _, text in rows]


def test_a_table_keeps_its_columns():
    rows = [("id", "text", "", "text 2"), ("7", " good film\n", "a,b", '"q"'), ("", "()", " x ", "")]
    with Path("n.csv").open("w", encoding="utf-16", newline="") as stream:
        csv.writer(stream, delimiter=";").writerows(rows)
    done = predict("--file", "n.csv", "--out", "o.csv")
    assert "note: n.csv: read as UTF-16 (its byte order mark)\n" in done.err
    header, first, second = cells("o.csv")
    assert header == [*rows[0], "predicted", "p_bad", "p_good"]
    assert (
        first[:4] == list(rows[1])
        and first[4] in ("bad", "good")
        and float(first[5]) + float(first[6]) == pytest.approx(1, abs=2e-6)
    )
    assert second == [*rows[2], "", "", ""]
    predict("--file", "o.csv", "--out", "again.csv")
    assert cells("again.csv")[1] == [*first, *first[4:]]  # it is a table itself


def test_columns_of_jsonl():
    told = [{"text": "good", "n": 1.5, "ok": True}, {"more": {"a": [1, None]}, "text": "bad"}, {"text": 3, "n": None}]
    Path("n.jsonl").write_text("".join(json.dumps(own) + "\n" for own in told))
    predict("--file", "n.jsonl", "--out", "o.csv")
    found = cells("o.csv")
    assert [row[:4] for row in found] == [
        ["text", "n", "ok", "more"],
        ["good", "1.5", "true", ""],
        ["bad", "", "", '{"a": [1, null]}'],
        ["3", "", "", ""],
    ]


def test_name_clashes_are_told():
    Path("n.tsv").write_text("predicted\ttext\tp_good\tp_good_2\nx\tgood\t1\t2\n")
    done = predict("--file", "n.tsv", "--out", "o.csv")
    assert cells("o.csv")[0][4:] == ["predicted_2", "p_bad", "p_good_3"]
    assert "note: the file has a column predicted, so the prediction's is predicted_2\n" in done.err
    assert told(done).count("note: ") == 2 and "p_good_3" in done.err
    assert result_columns(["a"], ["x"]) == {"predicted": "predicted", "p_x": "p_x"}


FORMULAS = ["=1+1", "+49 1", "-a", "@x", "\tq", "\rq"]
PLAIN = ["1-1", "-5", "-0.5", "-1.5e-3", "'x", " =1", "", "a=b"]


def test_formulas_are_shown_as_text():
    assert [as_spreadsheet_text(cell) for cell in FORMULAS + PLAIN] == [f"'{cell}" for cell in FORMULAS] + PLAIN
    with Path("n.csv").open("w", newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows(
            [["text", "=x"], *(["good", cell] for cell in FORMULAS + PLAIN)]
        )
    predict("--file", "n.csv", "--out", "o.csv")
    assert [row[1] for row in cells("o.csv")] == ["'=x", *(f"'{cell}" for cell in FORMULAS), *PLAIN]
    predict("--file", "n.csv", "--out", "raw.csv", "--raw")
    assert [row[1] for row in cells("raw.csv")] == ["=x", *FORMULAS, *PLAIN]


def test_lines_keep_their_numbers():
    Path("n.txt").write_text("good\n\n...\r\n bad \n()\n\n")
    done = predict("--file", "n.txt")
    assert [text for text, _ in answers(done)] == ["good", "...", "bad", "()"]
    assert [label == "" for _, label in answers(done)] == [False, True, False, True]
    assert told(done) == "note: no prediction for 2 of 4 texts: no tokens (lines 3, 5)\n"
    predict("--file", "n.txt", "--out", "o.csv")
    assert [row[:2] for row in cells("o.csv")] == [
        ["row", "text"],
        ["1", "good"],
        ["3", "..."],
        ["4", " bad "],
        ["5", "()"],
    ]


def test_explanations_pass_texts_without_tokens():
    done = predict("--explain", "good film", "...", "<b>", "--html", "p.html")
    assert "\tgood film\n" in done.out and "\n\t\t...\n" in done.out
    assert done.out.count("log-odds") == 2
    assert told(done) == "note: no prediction for 1 of 3 texts: no tokens (text 2)\n"
    page = Path("p.html").read_text(encoding="utf-8")
    assert "<h2>2. " in page and "no prediction: no tokens" in page and "<h2>3. " in page


def test_explanation_shows_the_text_as_written():
    text = "A GOOD film, Caf\u00e9\u2019s &amp; Xyzzy\u2026<br />Bad"
    done = predict("--explain", text, "--html", "own.html")
    first, second = done.out.splitlines()[1:3]
    found = f"{first}\n{second}".replace("[", "").replace("]", "")
    assert found == f"  {text}".replace("<br />", "\n  ") and "[Xyzzy]" in first
    page = Path("own.html").read_text(encoding="utf-8")
    words = re.findall(r'<span class="word(?: unknown)?" style="[^"]*" title="[^"]*">([^<]*)</span>', page)
    assert words == ["A", "GOOD", "film", "Caf\u00e9", "\u2019s", "Xyzzy", "Bad"]
    assert re.search(r'class="word unknown"[^>]*>Xyzzy<', page) and "out of vocabulary" in page


def test_only_texts_without_tokens_are_refused():
    Path("n.txt").write_text("...\n\n()\n")
    refused("--file", "n.txt", says="2 lines: the words tokenizer finds no tokens")
    refused("...", "--explain", says="text 1: the words tokenizer finds no tokens")
    predict("--file", "n.txt", "--out", "o.csv")
    assert cells("o.csv")[1:] == [["1", "...", "", "", ""], ["3", "()", "", "", ""]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("given", ["utf-8", "gb18030", "utf-16"])
def test_files_and_standard_input_in_any_encoding(monkeypatch, encoding, given):
    text = "\u5f88\u597d\u770b good\n\u670d\u52a1\u592a\u5dee bad\n"
    Path("n.txt").write_bytes(text.encode(encoding))
    found = predict("--file", "n.txt", "--encoding", given)
    assert [own for own, _ in answers(found)] == text.split("\n")[:-1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode(encoding))))
    again = predict("--encoding", given)
    assert again.out == found.out and again.err == found.err.replace("n.txt", "standard input")
    assert (told(found) == "") == (encoding.removesuffix("-sig") == given)


def test_control_characters_are_not_printed():
    assert answers(predict("good\x1b[31m\x07 film"))[0][0] == "good\ufffd[31m\ufffd film"


def test_chunks_are_bounded():
    rng = fresh_rng()
    sizes = [int(size) for size in rng.choice([1, 50, 3000, 1_000_000], 5000, p=[0.6, 0.2, 0.19, 0.01])]
    rows = [Text(number, "a" * size, []) for number, size in enumerate(sizes)]
    chunks = list(chunks_of(iter(rows)))
    assert [row for chunk in chunks for row in chunk] == rows
    assert max(map(len, chunks)) <= CHUNK
    assert all(sum(len(row.text) for row in chunk[:-1]) < 1_000_000 for chunk in chunks)


def test_devices_and_endless_lines_are_refused():
    refused("--file", "/dev/zero", says="/dev/zero: a device, not a file")
    with Path("/dev/zero").open("rb") as zero:
        process = [sys.executable, "-m", "tasks.classify", "predict", RUN]
        done = subprocess.run(process, cwd=ROOT, stdin=zero, capture_output=True, text=True)
    assert (
        done.returncode == 2
        and done.stderr.count("\n") == 1
        and "standard input: line 1: a line of more" in done.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize("out", [(), ("--out", "o.csv")])
def test_memory_does_not_grow_with_the_file(out):
    peaks = []
    for count in (2 * CHUNK, 20 * CHUNK):
        Path("n.txt.gz").write_bytes(gzip.compress(b"a good film with a plot, and a bad one\n" * count))
        argv = [sys.executable, "-m", "tasks.classify", "predict", str(RUN), "--file", "n.txt.gz", *out]
        # Waited for by wait4, which returns the peak.
        pid = os.spawnve(os.P_NOWAIT, sys.executable, argv, {**os.environ, "PYTHONPATH": str(ROOT)})
        _, status, usage = os.wait4(pid, 0)
        assert status == 0
        peaks.append(usage.ru_maxrss)
        Path("o.csv").unlink(missing_ok=True)
    assert peaks[1] < 1.2 * peaks[0]


def test_read_rows_gives_all_columns(tmp_path):
    Path("n.csv").write_text("a,text,b\n1, x ,2\n")
    (row,) = read_rows(Path("n.csv"), ["text"], "utf-8")
    assert (row.cells, list(row.names), list(row.values)) == (["x"], ["a", "text", "b"], ["1", " x ", "2"])
