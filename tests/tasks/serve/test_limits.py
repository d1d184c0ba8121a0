"""Limits of requests, against an application of ASGI messages: nothing is read beyond them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tasks.serve import limits
from tasks.serve.limits import Limited, Limits
from tasks.serve.responses import on_http_error


async def read_all(request):
    return PlainTextResponse(str(len(await request.body())))


async def ignore(request):
    return PlainTextResponse("ignored")


ROUTES = [Route(path, read_all, methods=["GET", "POST"]) for path in ("/", "/health")] + [
    Route("/ignore", ignore, methods=["POST"])
]


def limited(**own: float) -> Limited:
    return Limited(Starlette(routes=ROUTES, exception_handlers={HTTPException: on_http_error}), Limits(**own))


class Exchange:
    """A request in parts, and its response; without more parts, `receive` waits."""

    def __init__(self, parts: Iterable[bytes], headers: dict[str, str] | None = None, path: str = "/") -> None:
        parts = list(parts)
        self.left = [
            {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
            for number, part in enumerate(parts)
        ]
        self.read, self.sent = 0, []
        own = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        self.scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": own}

    async def receive(self) -> dict:
        if not self.left:
            await asyncio.Event().wait()
        message = self.left.pop(0)
        self.read += len(message["body"])
        return message

    async def send(self, message: dict) -> None:
        self.sent.append({**message, "read": self.read})

    async def run(self, app) -> Exchange:
        await app(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def run(exchange: Exchange, app: Limited) -> Exchange:
    return asyncio.run(exchange.run(app))


CHUNKED = {"Transfer-Encoding": "chunked"}


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_bodies_within_the_limit_are_read(size):
    headers = {"Content-Length": str(size)} if size else {}
    found = run(Exchange([b"a" * size], headers), limited(body=100))
    assert (found.status, found.body) == (200, str(size).encode()) and b"connection" not in found.headers


def test_a_body_that_tells_its_size_is_refused_unread():
    found = run(Exchange([b"a" * 50] * 3, {"Content-Length": "150"}), limited(body=100))
    assert found.status == 413 and json.loads(found.body)["error"].startswith("body of more than 100 bytes")
    assert found.sent[1]["read"] == 0 and found.headers[b"connection"] == b"close"
    assert found.read == 150 and found.sent[-1]["more_body"] is False


def test_a_body_that_does_not_tell_is_read_up_to_the_limit():
    found = run(Exchange([b"a" * 50] * 9, CHUNKED), limited(body=100))
    assert found.status == 413 and found.sent[0]["read"] == 150


def test_a_body_that_does_not_end_is_dropped_for_a_while(monkeypatch):
    monkeypatch.setattr(limits, "LINGER", 0.05)
    exchange = Exchange([b"a" * 200] * 2, CHUNKED)
    exchange.left[-1]["more_body"] = True
    found = run(exchange, limited(body=100))
    assert found.status == 413 and found.read == 400 and not found.sent[-1]["more_body"]


def test_a_sender_that_waits_for_a_go_ahead_is_not_given_it():
    headers = {"Content-Length": "150", "Expect": "100-continue"}
    found = run(Exchange([b"a" * 150], headers), limited(body=100))
    assert found.status == 413 and found.read == 0


def test_a_slow_body_is_a_timeout(monkeypatch):
    exchange = Exchange([b"a", b"a"], {"Content-Length": "9"})
    exchange.left[-1]["more_body"] = True
    found = run(exchange, limited(seconds=0.05))
    assert found.status == 408 and json.loads(found.body) == {"error": "body not received within 0.05 seconds"}
    assert found.headers[b"connection"] == b"close"


def test_an_unread_body_is_dropped():
    found = run(Exchange([b"a" * 10] * 4, {"Content-Length": "40"}, "/ignore"), limited())
    assert (found.status, found.body, found.read) == (200, b"ignored", 40)
    assert found.headers[b"connection"] == b"close"


def test_requests_at_once_are_limited_except_for_health():
    async def together() -> list[Exchange]:
        app = limited(active=2)
        slow = [Exchange([], {"Content-Length": "1"}) for _ in range(2)]
        tasks = [asyncio.create_task(own.run(app)) for own in slow]
        while app.active < 2:
            await asyncio.sleep(0)
        refused = await Exchange([b""]).run(app)
        health = await Exchange([b""], path="/health").run(app)
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        answered = await Exchange([b"a"], {"Content-Length": "1"}).run(app)
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
        assert app.active == 0
        return [refused, health, answered]

    refused, health, answered = asyncio.run(together())
    assert refused.status == 503 and refused.headers[b"retry-after"] == b"1"
    assert (health.status, answered.status) == (200, 200)
