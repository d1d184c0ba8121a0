"""Limits of requests: bytes, seconds, texts, and requests at once. A body is never read beyond them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import anyio
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.serve.responses import error_response

MOST_TEXTS = 1000
"""Texts of one JSON request."""
MOST_CHARACTERS = 100_000
"""Characters of one text."""
MOST_EXPLAINED = 20_000
"""Characters of a text to explain: with n-grams, that takes a pass over the text for each word that the model reads."""
MOST_ROWS = 10_000
"""Rows of an uploaded file."""
ENDS = "the server ends: try again later"
"""Error of a request that is not answered before the end of the server."""
UNLIMITED = ("/health", "/metrics")
"""Paths that are answered under any load."""
LINGER = 2.0
"""Seconds for which the rest of a refused body is read and dropped, so that its sender can read the refusal."""


@dataclass(frozen=True)
class Limits:
    """Limits of one server."""

    body: int = 5_000_000
    """Bytes of a request's body."""
    seconds: float = 10.0
    """Time for the head of a request, for its body, and for each part of an answer to be accepted."""
    active: int = 128
    """Requests that are answered at the same time."""


class Limited:
    """An ASGI application that refuses requests beyond limits: 408, 413 or 503."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits
        self.active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self.app(scope, receive, send)
            return
        body = _Body(scope, receive, send, self.limits)
        if self.active >= self.limits.active:
            await body.refuse(503, f"busy with {self.active} requests: try again")
        elif body.length > self.limits.body:
            await body.refuse(413, body.too_large)
        else:
            self.active += 1
            try:
                await self.app(scope, body.receive, body.send)
            except asyncio.CancelledError:
                # uvicorn cancels a request only at its end. Its answer may have begun.
                if not body.is_answered:
                    await error_response(503, ENDS)(scope, receive, send)
            finally:
                self.active -= 1


class _Body:
    """The body of one request while it is received, and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        self.length = int(length) if length.isdigit() else 0
        self._waits_for_continue = b"expect" in headers
        self._scope, self._receive, self._send, self._limits = scope, receive, send, limits
        self._complete = self.length == 0 and b"transfer-encoding" not in headers
        self._bytes, self._deadline = 0, anyio.current_time() + limits.seconds
        self._status = 0

    @property
    def is_answered(self) -> bool:
        return self._status != 0

    @property
    def too_large(self) -> str:
        return f"body of more than {self._limits.body:,} bytes: send less at once"

    async def receive(self) -> Message:
        """Receive a part of the body. Raises HTTPException 408 or 413."""
        if self._complete:
            return await self._receive()
        try:
            with anyio.fail_after(self._deadline - anyio.current_time()):
                message = await self._receive()
        except TimeoutError:
            self._complete = True  # as far as it is read
            raise HTTPException(408, f"body not received within {self._limits.seconds:g} seconds") from None
        self._bytes += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._bytes > self._limits.body:
            raise HTTPException(413, self.too_large)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response; after the last one, drop what remains of the body."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if not self._complete or self._status in (408, 413, 503):
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        if message["type"] != "http.response.body" or message.get("more_body", False) or self._complete:
            await self._send(message)
            return
        # uvicorn closes the connection after the last part. With bytes unread, the sender would see a reset.
        await self._send({**message, "more_body": True})
        if not self._waits_for_continue:
            await self._drop()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def refuse(self, status: int, message: str) -> None:
        """Answer with an error, without calling the application."""
        response = error_response(status, message)
        await response(self._scope, self.receive, self.send)

    async def _drop(self) -> None:
        with anyio.move_on_after(LINGER):
            while (await self._receive()).get("more_body", False):
                pass
