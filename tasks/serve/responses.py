"""Responses: JSON, errors in one line, and the headers that every response has."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.strings import message as shortened

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every response. The page runs its own script and style only, whatever a text contains."""


def error_response(status: int, message: str) -> JSONResponse:
    """Return an error as JSON, in one line."""
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"error": shortened(message)}, status, headers)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer an HTTPException."""
    status, detail = getattr(error, "status_code", 500), getattr(error, "detail", "")
    if status == 404:
        detail = "no such path: use /predict, /explain, /health or /metrics"
    if status == 405:
        detail = f"{request.method} is not allowed here: use POST for /predict and /explain, GET for the others"
    response = error_response(status, detail)
    response.headers.update(getattr(error, "headers", None) or {})
    return response


async def on_failure(request: Request, error: Exception) -> Response:
    """Answer an unexpected exception; the server prints its traceback."""
    return error_response(500, "internal error: the server's output has the cause")


class WithHeaders:
    """An ASGI application whose responses have the headers `HEADERS`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                message = {**message, "headers": headers.raw}
            await send(message)

        await self.app(scope, receive, send_with_headers)
