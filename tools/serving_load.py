"""Measure a running server under load: connections that send one short text after the other, without a pause.

python -m tools.serving_load http://127.0.0.1:8000 --seconds 60 --out load.json

The generator is one process of Python, which takes about as much CPU time as the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from core.engine.machine import processor, usable_cores
from core.errors import UserError
from core.files import write_json_atomic
from tasks.cli.console import Parser, fact, launch

WORDS = ["the", "a", "of", "and", "was", "film", "plot", "actor", "scene", "music", "ending", "not", "never", "very"]
WORDS += ["wonderful", "awful", "dull", "fine", "loved", "hated", "best", "worst", "slow", "funny", "boring", "again"]
SHORTEST, LONGEST = 5, 20
"""Words of a text."""
QUANTILES = (0.5, 0.9, 0.99, 0.999)


@dataclass
class Measured:
    """What all connections measured."""

    seconds: list[float] = field(default_factory=list)
    """Duration of every answered request."""
    failures: Counter[str] = field(default_factory=Counter)
    """Requests without a 200 answer, by reason."""


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m tools.serving_load", description="Measure a running server under load.")
    parser.add_argument("url", metavar="URL", help="address of the server, as it prints it")
    parser.add_argument("--connections", metavar="N", type=int, default=64, help="connections, kept alive [64]")
    parser.add_argument("--seconds", metavar="S", type=float, default=60.0, help="duration [60]")
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="seed of the texts [1]")
    parser.add_argument("--out", metavar="FILE", help="write the figures to this JSON file")
    arguments = parser.parse_args(argv)
    address = urlsplit(arguments.url)
    if address.scheme != "http" or not address.hostname:
        raise UserError(f"{arguments.url}: expected an address such as http://127.0.0.1:8000")
    host, port = address.hostname, address.port or 80
    measured = Measured()
    started, cpu = time.perf_counter(), time.process_time()
    asyncio.run(_load(host, port, arguments, measured))
    taken, cpu = time.perf_counter() - started, time.process_time() - cpu
    figures = summary(measured, taken) | {
        "connections": arguments.connections,
        "words_per_text": [SHORTEST, LONGEST],
        "generator_cpu_seconds": round(cpu, 2),
        "machine": {"cpu": processor(), "cores": usable_cores()},
    }
    for name in ("requests", "failures", "requests_per_second", "milliseconds", "generator_cpu_seconds"):
        fact(name, json.dumps(figures[name]), 22)
    if arguments.out:
        write_json_atomic(arguments.out, figures)
    return 1 if figures["failures"] or not figures["requests"] else 0


def summary(measured: Measured, taken: float) -> dict:
    """Return the figures: counts, throughput, and quantiles of the durations in milliseconds."""
    milliseconds = 1000 * np.array(measured.seconds or [np.nan])
    quantiles = {f"p{100 * own:g}": _rounded(np.quantile(milliseconds, own)) for own in QUANTILES}
    return {
        "requests": len(measured.seconds),
        "failures": dict(measured.failures),
        "seconds": round(taken, 2),
        "requests_per_second": round(len(measured.seconds) / taken, 1),
        "milliseconds": quantiles | {"max": _rounded(milliseconds.max())},
    }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 2)


async def _load(host: str, port: int, arguments: argparse.Namespace, measured: Measured) -> None:
    end = time.perf_counter() + arguments.seconds
    random_of = [random.Random(f"{arguments.seed} {number}") for number in range(arguments.connections)]
    await asyncio.gather(*(_connection(host, port, own, end, measured) for own in random_of))


async def _connection(host: str, port: int, numbers: random.Random, end: float, measured: Measured) -> None:
    """Send requests on one connection until the time is over; open a new one after a failure."""
    writer = None
    while time.perf_counter() < end:
        started = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection(host, port)
            writer.write(_request(host, numbers))
            status = await _response(reader)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            measured.failures[type(error).__name__] += 1
            writer = None
            await asyncio.sleep(0.1)
            continue
        if status == 200:
            measured.seconds.append(time.perf_counter() - started)
        else:
            measured.failures[str(status)] += 1
            writer = None
    if writer is not None:
        writer.close()


def _request(host: str, numbers: random.Random) -> bytes:
    text = " ".join(numbers.choices(WORDS, k=numbers.randint(SHORTEST, LONGEST)))
    body = json.dumps({"text": text}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


async def _response(reader: asyncio.StreamReader) -> int:
    """Read a response and return its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(line.partition(":")[2] for line in head.split("\r\n") if line.startswith("content-length:"))
    await reader.readexactly(int(length))
    return int(head.split(" ", 2)[1])


if __name__ == "__main__":
    launch(main)
