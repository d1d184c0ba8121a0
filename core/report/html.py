"""HTML pages from the templates in this folder: each page is one file that loads nothing and runs no script."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: object) -> str:
    """Return the page that `template` makes of `values`.

    Every value is escaped, in text and in attributes. Markup alone is not, and only `core.report.charts` makes it.
    Raises jinja2.UndefinedError where the template names a value that is not there.
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
    return environment


def _now() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
