"""The routes of a server, in this process: answers, errors in one line, files, metrics and headers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tasks.run.predict_options import PredictOptions
from tasks.serve.application import Server, application
from tasks.serve.batching import QueuedEngine
from tasks.serve.bodies import MOST_CHARACTERS, MOST_TEXTS
from tasks.serve.limits import ENDS, MOST_EXPLAINED, Limits
from tasks.serve.served_run import ServedRun
from tasks.serve.uploads import safe_name
from tests.tasks.serve.served import RUN, make_texts

HTML = "<img src=x onerror=alert(1)> </script><script>alert(1)</script> & \"a\" 'b'"


@pytest.fixture(scope="module")
def served() -> ServedRun:
    return ServedRun.open(str(RUN), PredictOptions())


@pytest.fixture
def client(served) -> Iterator[TestClient]:
    with TestClient(application(Server(served), Limits(body=200_000))) as own:
        yield own


def refused(client: TestClient, status: int, says: str, path: str = "/predict", **request) -> None:
    """Check that a request is answered with an error in one line, and that the next one is answered."""
    response = client.post(path, **request)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"} and "\n" not in response.json()["error"]
    assert says in response.json()["error"], response.text
    assert client.post("/predict", json={"text": "a"}).status_code == 200


def test_one_text_and_many(client, served, rng):
    texts = make_texts(rng, RUN, 70)
    expected = served.answers(texts)
    found = client.post("/predict", json={"texts": texts}).json()["answers"]
    assert [own and own["label"] for own in found] == [own and own["label"] for own in expected]
    assert found[1] is None and client.post("/predict", json={"text": ""}).json() == {"answer": None}
    one = client.post("/predict", json={"text": texts[0]}).json()["answer"]
    assert one.keys() == {"label", "probability", "probabilities", "unknown", "truncated"}
    assert one["probability"] == pytest.approx(expected[0]["probability"], abs=1e-6)
    assert client.post("/predict", json={"texts": []}).json() == {"answers": []}


def test_requests_at_the_same_time_get_their_own_answers(client, served, rng):
    texts = [text for text in make_texts(rng, RUN, 40) if text.strip("()")]
    expected = [served.answers([text])[0] for text in texts]

    def ask(text: str) -> dict:
        return client.post("/predict", json={"text": text}).json()["answer"]

    with ThreadPoolExecutor(8) as pool:
        for own, answer in zip(expected, pool.map(ask, texts), strict=True):
            assert answer["label"] == own["label"] and answer["unknown"] == own["unknown"]
            assert answer["probability"] == pytest.approx(own["probability"], abs=1e-6)


def test_an_explanation(client, served, rng):
    text = make_texts(rng, RUN, 4)[-1]
    found = client.post("/explain", json={"text": text}).json()["explanation"]
    expected = served.explanation(text, None, served.predictor.engine)
    assert [own["token"] for own in found["words"]] == [own["token"] for own in expected["words"]]
    for own, other in zip(found["words"], expected["words"], strict=True):
        assert own["effect"] == pytest.approx(other["effect"], abs=1e-6)
    assert client.post("/explain", json={"text": "()"}).json() == {"explanation": None}


@pytest.mark.parametrize("text", [HTML, "\x00\x1b[31m", "\u202eabc", "a" * MOST_EXPLAINED, " \n\t "])
def test_any_text_is_answered_as_json(client, text):
    for path in ("/predict", "/explain"):
        response = client.post(path, json={"text": text})
        assert response.status_code == 200 and response.headers["content-type"] == "application/json"
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, b"", "the body is not JSON"),
        (400, b"{", "the body is not JSON"),
        (400, b"\xff\xfe", "the body is not JSON"),
        (400, b"[" * 90_000, "the body is not JSON"),
        (400, b"1" * 90_000, "the body is not JSON"),
        (422, b"[]", "got an array, expected an object with text or texts"),
        (422, b"{}", "got 0 fields, expected text or texts"),
        (422, b'{"text": "a", "texts": []}', "got 2 fields"),
        (422, b'{"text": 3}', "text: got a number, expected a string"),
        (422, b'{"text": NaN}', "text: got a number"),
        (422, b'{"text": null}', "text: got null"),
        (422, b'{"texts": "a"}', "texts: got a string, expected an array"),
        (422, b'{"texts": ["a", {}]}', "texts[1]: got an object"),
        (422, b'{"text": "a", "n": 1}', "unknown field 'n'"),
        (422, b'{"text": "\\ud800"}', "text: half of a surrogate pair at character 1"),
        (413, json.dumps({"text": "a" * (MOST_CHARACTERS + 1)}).encode(), "expected at most 100,000: shorten it"),
        (413, json.dumps({"texts": ["a"] * (MOST_TEXTS + 1)}).encode(), "texts: got 1,001, expected at most 1,000"),
        (413, b'{"text": "' + b"a" * 200_000, "body of more than 200,000 bytes"),
    ],
)
def test_wrong_json_is_refused(client, status, body, says):
    refused(client, status, says, content=body, headers={"Content-Type": "application/json"})


def test_wrong_requests_are_refused(client):
    refused(
        client,
        415,
        "content type text/plain: send application/json",
        content=b"a",
        headers={"Content-Type": "text/plain"},
    )
    refused(client, 415, "content type none", content=b"a")
    refused(client, 415, "content type multipart/form-data", "/explain", files={"file": b"text\na\n"})
    refused(client, 404, "no such path", "/other")
    refused(client, 405, "POST is not allowed here", "/health")
    refused(client, 422, "token: expected the number of a token", "/explain", json={"text": "a", "token": True})
    refused(client, 422, "token: this run predicts a class per text", "/explain", json={"text": "a", "token": 1})
    refused(client, 422, "text: got null", "/explain", json={})
    long = {"text": "a" * (MOST_EXPLAINED + 1)}
    refused(client, 413, "text: got 20,001 characters, expected at most 20,000", "/explain", json=long)
    assert client.post("/predict", json={"text": "a" * MOST_CHARACTERS}).status_code == 200
    assert client.get("/predict").status_code == 405


def test_a_file_comes_back_with_predictions(client, served, rng, tmp_path):
    texts = make_texts(rng, RUN, 150)
    stream = io.StringIO()
    csv.writer(stream).writerows([["n", "text"], *([f"={n}", text] for n, text in enumerate(texts))])
    table, out = tmp_path / "t.csv", tmp_path / "o.csv"
    table.write_bytes(stream.getvalue().encode())
    served.write_predictions(table, out, {}, served.predictor.engine)
    response = client.post("/predict", files={"file": ("t.csv", table.read_bytes())})
    assert response.content == out.read_bytes()
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="predictions.csv"'


def test_files_of_other_formats(client):
    def rows(name: str, content: bytes, **fields: str) -> list[list[str]]:
        response = client.post("/predict", files={"file": (name, content)}, data=fields)
        assert response.status_code == 200, response.text
        return list(csv.reader(io.StringIO(response.content.decode("utf-8-sig"), newline="")))

    assert [row[:2] for row in rows("x.txt", b"bad film\n\nfilm\n")] == [
        ["row", "text"],
        ["1", "bad film"],
        ["3", "film"],
    ]
    assert [row[0] for row in rows("x.jsonl", b'{"text": "film"}\n')] == ["text", "film"]
    assert rows("x.csv", b"review;n\nfilm;1\n", text_column="review")[0][:2] == ["review", "n"]
    assert rows("x.csv", "text\n\u5f88\u597d\n".encode("gb18030"), encoding="gb18030")[1][0] == "\u5f88\u597d"


@pytest.mark.parametrize(
    ("status", "name", "content", "says"),
    [
        (422, "a.csv", b"", "a.csv: empty"),
        (422, "a.csv", b"x,y\n1,2\n", "a.csv: no column 'text' (first row: x, y): set text_column"),
        (422, "a.csv", b'text\n"a', "a quote is not closed"),
        (422, "a.csv", b"\0\1\2", "a NUL byte"),
        (422, "../../<b>.csv", b"x\n1\n", "_b_.csv: no column 'text'"),
        (415, "a.csv.gz", gzip.compress(b"text\na\n", mtime=0), "a compressed file"),
        (415, "a.xlsx", b"PK\3\4 and more", "a compressed file, workbook or Parquet file"),
    ],
)
def test_wrong_files_are_refused(client, status, name, content, says):
    refused(client, status, says, files={"file": (name, content)})


def test_wrong_forms_are_refused(client):
    file = {"file": ("a.csv", b"text\na\n")}
    refused(client, 422, "the form has no file", files={"other": b"a"})
    refused(client, 422, "unknown field 'columns'", files=file, data={"columns": "a"})
    refused(client, 422, "encoding 'rot13': unknown", files=file, data={"encoding": "rot13"})
    refused(client, 422, "a.csv: no column 'b'", files=file, data={"text_column": "b"})
    headers = {"Content-Type": "multipart/form-data; boundary=q"}
    refused(client, 400, "", content=b"no form", headers=headers)
    refused(client, 400, "", content=b"no form", headers={"Content-Type": "multipart/form-data"})


def test_no_upload_leaves_a_file(client, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert client.post("/predict", files={"file": ("a.csv", b"text\na\n")}).status_code == 200
    refused(client, 422, "no column", files={"file": ("a.csv", b"x\na\n")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("reviews.csv", "reviews.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\a\\b c.tsv", "b_c.tsv"),
        ("..", "upload.csv"),
        ("", "upload.csv"),
        ("/", "upload.csv"),
        ("\u8bc4\u8bba\n.csv", "\u8bc4\u8bba_.csv"),
        ("a" * 300 + ".csv", "a" * 76 + ".csv"),
    ],
)
def test_names_of_uploads_are_safe(name, safe):
    assert safe_name(name) == safe


def test_health_names_the_run(client):
    found = client.get("/health").json()
    assert found["status"] == "ok" and found["run"] == RUN.name and found["classes"] == ["bad", "good"]
    assert found["evaluator"] in ("fast on cpu", "numpy on cpu")


def test_metrics_count_requests_and_texts(client):
    client.post("/predict", json={"texts": ["a", "", "film"]})
    client.post("/predict", content=b"x")
    for path in ("/a", "/b", "/c"):
        client.get(path)
    text = client.get("/metrics").text
    for line in (
        'seqtwin_requests_total{method="POST",route="/predict",status="200"} 1.0',
        'seqtwin_requests_total{method="POST",route="/predict",status="415"} 1.0',
        'seqtwin_requests_total{method="GET",route="other",status="404"} 3.0',
        'seqtwin_request_seconds_count{route="/predict"} 2.0',
        "seqtwin_texts_total 3.0",
        "seqtwin_batch_texts_sum 3.0",
        "seqtwin_active_requests 1.0",
    ):
        assert line in text.splitlines(), text


def test_every_response_has_the_security_headers(client):
    for response in (
        client.get("/"),
        client.get("/other"),
        client.post("/predict", content=b"x"),
        client.get("/page.js"),
    ):
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "'unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"


def test_the_page_refers_to_its_own_files_only(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for target in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert target == "data:," or client.get(f"/{target}").status_code == 200
    assert "style=" not in page.text and not re.search(r"\son\w+=", page.text)
    script = client.get("/page.js").text
    assert "innerHTML" not in script and "http" not in script.replace("https://", "http")
    assert {path.name for path in (Path(__file__).parents[3] / "tasks/serve/page").iterdir()} == {
        "page.html",
        "page.css",
        "page.js",
    }


def test_a_failure_is_an_error_without_details(served, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    with TestClient(application(Server(served), Limits()), raise_server_exceptions=False) as client:
        monkeypatch.setattr(ServedRun, "explanation", fail)
        response = client.post("/explain", json={"text": "a"})
        assert response.status_code == 500 and "secret" not in response.text
        assert client.post("/predict", json={"text": "a"}).status_code == 200


def test_a_file_is_given_up_when_the_server_ends(served, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    begun, go = threading.Event(), threading.Event()

    class Slow:
        def logits(self, batch):
            begun.set()
            go.wait()
            return served.predictor.engine.logits(batch)

    server = Server(served)
    server.engine = QueuedEngine(Slow(), server.batcher)
    with TestClient(application(server, Limits())) as client, ThreadPoolExecutor(2) as pool:
        upload = pool.submit(client.post, "/predict", files={"file": ("a.txt", b"film\nbad\n" * 400)})
        begun.wait()
        closing = pool.submit(server.batcher.close)
        while not server.batcher._closed:
            pass
        go.set()
        closing.result()
        assert upload.result().status_code == 503 and upload.result().json() == {"error": ENDS}
        assert client.post("/predict", json={"text": "a"}).status_code == 503
    assert list(tmp_path.iterdir()) == []
