"""The routes of a server: predictions, explanations, files, health, metrics and a page."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from core.errors import UserError
from tasks.serve.batching import Batcher, Closed, QueuedEngine
from tasks.serve.bodies import FORM, checked_text, media_type, read_form, read_object, read_texts
from tasks.serve.limits import ENDS, MOST_EXPLAINED, Limited, Limits
from tasks.serve.metrics import Measured, Metrics
from tasks.serve.responses import WithHeaders, error_response, on_failure, on_http_error
from tasks.serve.served_run import ServedRun
from tasks.serve.uploads import OUT, predicted_file

PAGE = Path(__file__).with_name("page")
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
MOST_UPLOADS = MOST_EXPLANATIONS = 2
"""Files, and explanations, that are computed at the same time; others wait."""


class Server:
    """The handlers of the routes, with a run and the thread that predicts with it."""

    def __init__(self, served: ServedRun) -> None:
        self.served, self.metrics = served, Metrics()
        self.batcher = Batcher(served.answers, self.metrics.on_batch)
        self.engine = QueuedEngine(served.predictor.engine, self.batcher)
        self._uploads, self._explanations = (
            anyio.CapacityLimiter(MOST_UPLOADS),
            anyio.CapacityLimiter(MOST_EXPLANATIONS),
        )

    async def predict(self, request: Request) -> Response:
        """Answer `{"text": ...}` or `{"texts": [...]}`, or a form with a file."""
        if media_type(request) == FORM:
            return await self._predict_file(request)
        texts, single = await read_texts(request)
        answers = await self.batcher.answers(texts)
        return JSONResponse({"answer": answers[0]} if single else {"answers": answers})

    async def explain(self, request: Request) -> Response:
        """Answer `{"text": ...}`, of a tagger also with `"token"`, a number from 1."""
        tree = await read_object(request, ("text", "token"))
        text, token = checked_text(tree.get("text"), "text", MOST_EXPLAINED), tree.get("token")
        if token is not None and type(token) is not int:
            raise HTTPException(422, "token: expected the number of a token, from 1")
        explain = partial(self.served.explanation, text, token, self.engine)
        try:
            found = await anyio.to_thread.run_sync(explain, limiter=self._explanations)
        except UserError as error:
            raise HTTPException(422, str(error).replace("`", "")) from None
        return JSONResponse({"explanation": found})

    async def health(self, request: Request) -> Response:
        """Answer with the run and its evaluator."""
        return JSONResponse({"status": "ok", **self.served.description})

    async def show_metrics(self, request: Request) -> Response:
        """Answer with the metrics of Prometheus."""
        return Response(self.metrics.text(), media_type=self.metrics.content_type)

    async def _predict_file(self, request: Request) -> Response:
        async with read_form(request) as (file, fields):
            predict = partial(predicted_file, self.served, file, fields, self.engine)
            content = await anyio.to_thread.run_sync(predict, limiter=self._uploads)
        headers = {"Content-Disposition": f'attachment; filename="{OUT}"'}
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)


def application(server: Server, limits: Limits) -> ASGIApp:
    """Return the ASGI application of a server, within limits."""
    routes = [
        Route("/predict", server.predict, methods=["POST"]),
        Route("/explain", server.explain, methods=["POST"]),
        Route("/health", server.health),
        Route("/metrics", server.show_metrics),
        *(Route(path, _file(*own)) for path, own in FILES.items()),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        server.batcher.close()

    handlers = {
        HTTPException: on_http_error,
        ClientDisconnect: _on_disconnect,
        Closed: _on_closed,
        Exception: on_failure,
    }
    inner = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    return Measured(WithHeaders(Limited(inner, limits)), server.metrics)


def _file(name: str, media_type: str):
    content = (PAGE / name).read_bytes()

    async def send_file(request: Request) -> Response:
        return Response(content, media_type=f"{media_type}; charset=utf-8")

    return send_file


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return error_response(400, "the connection was closed within the body")  # read by no one, but counted


async def _on_closed(request: Request, error: Exception) -> Response:
    return error_response(503, ENDS)
