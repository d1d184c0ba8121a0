"""Listen on a socket, serve until Ctrl-C or SIGTERM, and end cleanly."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from core.errors import UserError
from tasks.serve.connections import CONNECTIONS, HEAD_BYTES, TimedConnection
from tasks.serve.limits import Limits

IDLE = 30
"""Seconds after which a connection without a request is closed."""
GRACE = 2
"""Seconds for which requests may still be answered after a signal; then they get an error."""
LAST = 2
"""Seconds after these, after which requests are cancelled that wait for their client."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free one. Raises UserError: a port in use, an unknown host."""
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: expected a number from 0, any free port, to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host}: no such address ({getattr(error, 'strerror', None) or error})") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(CONNECTIONS)
    except OSError as error:
        listener.close()
        fix = "choose another --port, or 0 for any free one"
        raise UserError(f"--port {port}: cannot listen on {host} ({error.strerror}): {fix}") from None
    return listener


def is_local(host: str) -> bool:
    """Return whether only this machine reaches a host's address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class EndingServer(uvicorn.Server):
    """A server that calls `stop` in the time `GRACE` after a signal: then nothing is computed any more."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], object]) -> None:
        super().__init__(config)
        self._stop = stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        timer = asyncio.get_running_loop().call_later(GRACE, self._stop)
        await super().shutdown(sockets)
        timer.cancel()


def serve(app: ASGIApp, listener: socket.socket, limits: Limits, stop: Callable[[], object]) -> None:
    """Serve an application on a socket until a signal; then finish what is being answered within `GRACE` seconds.

    `stop` ends what is still computed then.
    """
    for name in ("uvicorn.error", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)  # they warn of every request that is refused
    connection = type("Connection", (TimedConnection,), {"seconds": limits.seconds})
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=connection,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=GRACE + LAST,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    # uvicorn raises the signal again when it has ended: the program then ends with exit code 0.
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        EndingServer(config, stop).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(number: int, frame: object) -> None:
    """Do nothing."""
