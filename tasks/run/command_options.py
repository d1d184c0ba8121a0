"""Options that several commands of a text task share."""

from __future__ import annotations

from backends import implementations
from tasks.cli.console import Parser
from tasks.cli.devices import DEVICE_HELP


def backend_option(parser: Parser, text: str) -> None:
    """Add `--backend`, `--device` and `--impl`; `text` is the help of the first."""
    parser.add_argument("--backend", metavar="B", help=text)
    parser.add_argument("--device", metavar="D", help=DEVICE_HELP)
    impl_option(parser)


def impl_option(parser: Parser) -> None:
    """Add `--impl`."""
    known = ", ".join(implementations.IMPLEMENTATIONS)
    text = f"implementation: auto, {known} [auto: fastest available]"
    parser.add_argument("--impl", metavar="I", default="auto", help=text)


def cache_option(parser: Parser) -> None:
    """Add `--cache-dir`."""
    parser.add_argument("--cache-dir", metavar="DIR", help="cache of downloads and tokenized texts [~/.cache/seqtwin]")
