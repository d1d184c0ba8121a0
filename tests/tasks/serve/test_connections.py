"""Limits of time of a connection, with a transport that records what is done with it."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from tasks.serve import connections
from tasks.serve.connections import TimedConnection


class Transport:
    """A transport whose peer never reads."""

    def __init__(self) -> None:
        self.written, self.ended = b"", ""

    def write(self, data: bytes) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.ended = "half"

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def is_closing(self) -> bool:
        return self.ended in ("closed", "aborted")

    def get_extra_info(self, name: str) -> None:
        return None

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def never(scope, receive, send) -> None:
    """Answer nothing."""
    await asyncio.Event().wait()


class Quick(TimedConnection):
    seconds = 0.02


def connected() -> tuple[TimedConnection, Transport]:
    config = uvicorn.Config(never, ws="none", log_config=None)
    connection, transport = Quick(config, ServerState(), {}, asyncio.get_running_loop()), Transport()
    connection.connection_made(transport)
    return connection, transport


async def until(condition) -> None:
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it does not happen")


def test_a_peer_that_does_not_read_is_disconnected():
    async def run() -> None:
        connection, transport = connected()
        connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        connection.pause_writing()
        await until(lambda: transport.ended == "aborted")
        connection.connection_lost(None)

    asyncio.run(run())


def test_a_peer_that_reads_in_time_is_not():
    async def run() -> None:
        connection, transport = connected()
        connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in range(3):
            connection.pause_writing()
            connection.resume_writing()
        await asyncio.sleep(3 * Quick.seconds)
        assert transport.ended == ""

    asyncio.run(run())


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_must_come_in_time(start, monkeypatch):
    monkeypatch.setattr(connections, "LINGER", 0.02)

    async def run() -> None:
        connection, transport = connected()
        if start:
            connection.data_received(start)
        await until(lambda: transport.ended == "half")
        written = transport.written
        assert written.startswith(b"HTTP/1.1 408 ") and b"head of the request" in written
        connection.data_received(b"\r\n\r\n")  # dropped
        await until(lambda: transport.ended == "closed")
        assert transport.written == written

    asyncio.run(run())


def test_a_request_that_is_answered_has_all_the_time():
    async def run() -> None:
        connection, transport = connected()
        connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(3 * Quick.seconds)
        assert transport.ended == "" and transport.written == b""

    asyncio.run(run())


def test_a_refused_connection_ends_with_the_server():
    async def run() -> Transport:
        connection, transport = connected()
        connection.data_received(b"no HTTP\r\n\r\n")
        assert transport.written.startswith(b"HTTP/1.1 400 ") and transport.ended == "half"
        connection.shutdown()
        return transport

    assert asyncio.run(run()).ended == "aborted"
