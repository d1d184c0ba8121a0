"""A server in a process: hostile connections, one line per error of its user, and a clean end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import tasks.serve.__main__ as program
from tasks.serve.server import is_local, listen
from tests.conftest import ROOT, check_refused, run_main
from tests.tasks.serve.served import RUN, Process, make_texts, serving
from tools import serving_load

pytestmark = pytest.mark.slow
MEGABYTE = b"a" * 1_000_000
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with serving(RUN, "--timeout", 1) as own:
        yield own


def sent(server: Process, *parts: bytes) -> bytes:
    """Send bytes on a new connection; return all that comes back until the server closes it."""
    with socket.create_connection(("127.0.0.1", server.port)) as own:
        for part in parts:
            own.sendall(part)
        return received(own)


def received(own: socket.socket) -> bytes:
    found = b""
    while data := own.recv(1 << 16):
        found += data
    return found


def check_error(response: bytes, status: int, says: str) -> None:
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode(), response
    tree = json.loads(body)
    assert tree.keys() == {"error"} and says in tree["error"]


def check_alive(server: Process) -> None:
    status, answer = server.post("/predict", {"text": "film"})
    assert status == 200 and answer["answer"]["label"] in ("bad", "good")


@pytest.mark.parametrize(
    ("parts", "status", "says"),
    [
        ((b"\x16\x03\x01\x02\x00\x01\r\n\r\n",), 400, "not a valid HTTP request"),
        ((b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",), 400, "not a valid HTTP request"),
        ((b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 600_000,), 400, "its head is too large"),
        ((HEAD + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",), 400, "not a valid HTTP request"),
        ((HEAD + b"Content-Length: -3\r\n\r\nabc",), 400, "not a valid HTTP request"),
        ((HEAD + b"Content-Length: 100000000\r\n\r\n", *[MEGABYTE] * 100), 413, "body of more than 5,000,000 bytes"),
        (
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"F4240\r\n" + MEGABYTE + b"\r\n"] * 12),
            413,
            "body of more",
        ),
        ((HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\nno size\r\n"), 400, "not a valid HTTP request"),
        ((b"",), 408, "head of the request not received within 1 seconds"),
        ((b"POST /predict HT",), 408, "head of the request not received"),
        ((HEAD + b'Content-Length: 100\r\n\r\n{"text": ',), 408, "body not received within 1 seconds"),
    ],
)
def test_hostile_requests_are_answered(server, parts, status, says):
    check_error(sent(server, *parts), status, says)
    check_alive(server)


def test_connections_that_end_early_print_nothing():
    with serving(RUN) as own:
        for data in (
            b"",
            b"POST /pre",
            HEAD + b'Content-Length: 99\r\n\r\n{"text"',
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        ):
            with socket.create_connection(("127.0.0.1", own.port)) as client:
                client.sendall(data)
        check_error(sent(own, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"no size\r\n"), 400, "not a valid HTTP")
        while b'route="/predict",status="400"} 3.0' not in metrics(own):
            pass
        check_alive(own)
        code, told = own.end()
    assert code == 0 and len(told.splitlines()) == 3, told


def test_a_connection_that_drips_a_head_is_closed(server):
    with socket.create_connection(("127.0.0.1", server.port)) as own:
        own.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        response = b""
        while not response.endswith(b"}"):
            response += own.recv(1 << 16)
        assert response.startswith(b"HTTP/1.1 200")
        own.sendall(b"GET /health HTTP/1.1\r\n")
        check_error(received(own), 408, "head of the request")
    check_alive(server)


def test_more_connections_than_allowed_are_refused(server):
    open_ones = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(513)]
    try:
        check_error(received(open_ones[-1]), 503, "more than 512 connections")
    finally:
        for own in open_ones:
            own.close()
    for left in range(100, 0, -1):  # until the server has seen that they are closed
        try:
            check_alive(server)
            break
        except (OSError, AssertionError):
            if left == 1:
                raise
            threading.Event().wait(0.05)


def test_the_load_program_measures_a_server(server, tmp_path):
    done = run_main(
        serving_load.main, server.url(), "--connections", 5, "--seconds", 0.7, "--out", tmp_path / "load.json"
    )
    assert done.code == 0, done.out + done.err
    found = json.loads((tmp_path / "load.json").read_text())
    assert found["requests"] >= 5 and found["failures"] == {} and found["connections"] == 5
    quantiles = found["milliseconds"]
    assert 0 < quantiles["p50"] <= quantiles["p90"] <= quantiles["p99"] <= quantiles["max"]
    assert found["requests_per_second"] == pytest.approx(found["requests"] / found["seconds"], rel=0.05)


def test_the_load_program_counts_failures():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        done = run_main(serving_load.main, f"http://127.0.0.1:{free.getsockname()[1]}", "--seconds", 0.3)
    assert done.code == 1 and "ConnectionRefusedError" in done.out
    check_refused(serving_load.main, "127.0.0.1:8000", says="expected an address such as", folder=ROOT / "tasks/serve")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server(number, rng):
    texts = make_texts(rng, RUN, 200)
    with serving(RUN) as own, ThreadPoolExecutor(4) as pool:
        found = pool.submit(own.post, "/predict", {"texts": texts * 2})
        idle = socket.create_connection(("127.0.0.1", own.port))
        while b"seqtwin_active_requests 2.0" not in metrics(own) and not found.done():
            pass
        code, told = own.end(number)
        assert code == 0 and told.endswith("ended    by a signal\n") and "Traceback" not in told
        status, tree = found.result()
        assert status == 200 and len(tree["answers"]) == 400
        assert idle.recv(100) == b""
        with pytest.raises(OSError):
            own.post("/predict", {"text": "a"})


def test_a_request_that_does_not_end_gets_an_error_as_the_server_ends():
    with serving(RUN, "--timeout", 600) as own, socket.create_connection(("127.0.0.1", own.port)) as client:
        client.sendall(HEAD + b'Content-Length: 100\r\n\r\n{"text": ')
        while b"seqtwin_active_requests 2.0" not in metrics(own):
            pass
        code, told = own.end()
        check_error(received(client), 503, "the server ends")
    assert code == 0 and "Traceback" not in told


def metrics(own: Process) -> bytes:
    with socket.create_connection(("127.0.0.1", own.port)) as one:
        one.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return received(one)


def test_a_port_in_use_is_one_line(server):
    says = (f"--port {server.port}: cannot listen on 127.0.0.1 (Address already in use)", "0 for any free one")
    check_refused(program.main, RUN, "--port", server.port, says=says, folder=RUN)


def test_errors_of_the_user_are_one_line(tmp_path):
    def refused(*argv: object, says: str) -> None:
        check_refused(program.main, *argv, says=says, folder=tmp_path)

    refused(tmp_path / "none", says="no such run folder")
    refused(tmp_path, says="holds no run")
    refused(RUN, "--port", 70000, says="--port 70000: expected a number from 0")
    refused(RUN, "--host", "no.such.host.invalid", says="--host no.such.host.invalid: no such address")
    refused(RUN, "--host", "192.0.2.1", "--port", 0, says="cannot listen on 192.0.2.1")
    refused(RUN, "--max-request", 0, says="--max-request 0: give a positive number")
    refused(RUN, "--timeout", "nan", says="--timeout nan: give a positive number")
    refused(RUN, "--min-probability", 2, says="--min-probability 2: give a number between 0 and 1")
    refused(RUN, "--calibrate", says="trained before runs were calibrated")


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(program, "PACKAGES", {"json": "json", "no_such_module": "the-package"})
    says = "serving needs the-package, not installed here; run: pip install the-package"
    check_refused(program.main, RUN, says=says, folder=tmp_path)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_local_hosts(host, local):
    assert is_local(host) is local


def test_any_free_port():
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", 0) as second:
        assert first.getsockname()[1] != second.getsockname()[1]


def test_a_host_that_others_reach_is_warned_of():
    with serving(RUN, "--host", "0.0.0.0") as own:
        check_alive(own)
        code, told = own.end()
    assert code == 0 and "warning: every machine that reaches this address can use it" in told


def test_the_server_imports_no_framework():
    code = (
        "import sys, tasks.serve.server as own, tasks.serve.__main__ as program\n"
        "own.serve = lambda *_: None\n"
        f"code = program.main([{str(RUN)!r}, '--port', '0'])\n"
        "print([name for name in ('torch', 'paddle', 'matplotlib', 'pandas') if name in sys.modules], code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("\n[] 0\n"), done.stdout
