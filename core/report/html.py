"""Rendering of HTML pages from templates: each page is one file without scripts or external resources."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from core.strings import middle

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: object) -> str:
    """Render `template` with `values`.

    All values are escaped, in text and in attributes, except Markup, which only `core.report.charts` creates. Raises
    jinja2.UndefinedError if the template uses a value that is missing.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    # Imported here, as programs that write no page import this module too.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("core.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["now"] = _now
    environment.filters["middle"] = middle
    return environment


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
