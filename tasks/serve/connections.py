"""Connections with limits of time: for the head of a request, and for a reader of its response.

uvicorn limits the idle time between requests, but not how slowly a head arrives or a response is read.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from tasks.serve.limits import LINGER

HEAD_BYTES = 32_768
"""Maximum size of the head of a request."""
CONNECTIONS = 512
"""Maximum number of open connections."""


class TimedConnection(H11Protocol):
    """A connection of uvicorn whose peer must send a head, and read a response, within `seconds`."""

    seconds = 10.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._is_refused = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._wait_for_head()
        if len(self.connections) > CONNECTIONS:
            self._refuse(b"503 Service Unavailable", f"more than {CONNECTIONS} connections: try again")

    def data_received(self, data: bytes) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_active:
            self._head_timer = _cancelled(self._head_timer)
        elif self._head_timer is None and self.timeout_keep_alive_task is None:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer, self._write_timer = _cancelled(self._head_timer), _cancelled(self._write_timer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_timer = _cancelled(self._write_timer)

    def shutdown(self) -> None:
        """End the connection, after its response, as the server ends."""
        if self._is_refused:
            self.transport.abort()
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answer a request, or a part of its body, that is not HTTP, and close the connection."""
        if self._is_active:
            self.cycle.disconnected = True  # its own response is no longer written
            self.cycle.message_event.set()
        self._refuse(b"400 Bad Request", "not a valid HTTP request, or its head is too large")

    @property
    def _is_active(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.seconds, self._on_head_timeout)

    def _on_head_timeout(self) -> None:
        if not self._is_active and not self.transport.is_closing():
            self._refuse(b"408 Request Timeout", f"head of the request not received within {self.seconds:g} seconds")

    def _refuse(self, status: bytes, message: str) -> None:
        """Answer with an error, drop what still comes, and close: at once, with bytes unread, the peer sees a reset."""
        self._is_refused = True
        self._head_timer = _cancelled(self._head_timer)
        body = json.dumps({"error": message}).encode()
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
