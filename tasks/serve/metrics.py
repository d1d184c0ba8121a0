"""Metrics of a server in the text format of Prometheus."""

from __future__ import annotations

import time

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROUTES = ("/", "/predict", "/explain", "/health", "/metrics", "/page.css", "/page.js")
OTHER = "other"
"""Route of all other paths: a label per path would need memory for each."""
METHODS = ("GET", "HEAD", "POST")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counts and times of requests, and sizes of batches."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        disable_created_metrics()  # a series of times per counter
        self._registry = own = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("seqtwin_requests", "Requests by method, route and status", labels, registry=own)
        self.seconds = Histogram(
            "seqtwin_request_seconds",
            "Seconds from head to end of a response",
            ("route",),
            buckets=SECONDS,
            registry=own,
        )
        self.active = Gauge("seqtwin_active_requests", "Requests that are being answered", registry=own)
        self.texts = Counter("seqtwin_texts", "Texts that were predicted", registry=own)
        self.batches = Histogram("seqtwin_batch_texts", "Texts per batch of JSON requests", buckets=SIZES, registry=own)

    def on_batch(self, size: int) -> None:
        """Count a batch of texts."""
        self.batches.observe(size)
        self.texts.inc(size)

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self._registry)


class Measured:
    """An ASGI application whose requests are counted and timed."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started = 0, time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self.metrics.active.track_inprogress():
            try:
                await self.app(scope, receive, send_and_note)
            finally:
                route = scope["path"] if scope["path"] in ROUTES else OTHER
                method = scope["method"] if scope["method"] in METHODS else OTHER
                self.metrics.requests.labels(method, route, str(status)).inc()
                self.metrics.seconds.labels(route).observe(time.perf_counter() - started)
