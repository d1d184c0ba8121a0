"""Read the bodies of requests: texts from JSON, and a file with its fields from a form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from core.strings import shorten
from tasks.serve.limits import MOST_CHARACTERS, MOST_TEXTS

JSON, FORM = "application/json", "multipart/form-data"
FIELDS = ("text_column", "encoding")
"""Fields of a form besides the file."""
LONGEST_FIELD = 1000


def media_type(request: Request) -> str:
    """Return the type of a body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_object(request: Request, fields: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON object of a body. Raises HTTPException: another type, no JSON, no object, other fields."""
    if media_type(request) != JSON:
        got = shorten(media_type(request), 60) or "none"
        raise HTTPException(415, f"content type {got}: send {JSON}")
    body = await request.body()
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise HTTPException(400, f"the body is not JSON ({shorten(str(error), 100)})") from None
    if not isinstance(tree, dict):
        raise HTTPException(422, f"got {_kind(tree)}, expected an object with {' or '.join(fields)}")
    unknown = [name for name in tree if name not in fields]
    if unknown:
        raise HTTPException(422, f"unknown field {shorten(unknown[0], 60)!r}: expected {' or '.join(fields)}")
    return tree


async def read_texts(request: Request) -> tuple[list[str], bool]:
    """Return the texts of `{"text": ...}` or `{"texts": [...]}`, and whether it is a single one.

    Raises HTTPException like `read_object`, and for texts of another type or too many.
    """
    tree = await read_object(request, ("text", "texts"))
    if len(tree) != 1:
        raise HTTPException(422, f"got {len(tree)} fields, expected text or texts")
    if "text" in tree:
        return [checked_text(tree["text"], "text")], True
    texts = tree["texts"]
    if not isinstance(texts, list):
        raise HTTPException(422, f"texts: got {_kind(texts)}, expected an array of strings")
    if len(texts) > MOST_TEXTS:
        raise HTTPException(413, f"texts: got {len(texts):,}, expected at most {MOST_TEXTS:,}: send several requests")
    return [checked_text(text, f"texts[{place}]") for place, text in enumerate(texts)], False


def checked_text(text: object, where: str, most: int = MOST_CHARACTERS) -> str:
    """Return a text. Raises HTTPException unless it is a string of at most `most` valid characters."""
    if not isinstance(text, str):
        raise HTTPException(422, f"{where}: got {_kind(text)}, expected a string")
    if len(text) > most:
        got = f"{len(text):,} characters, expected at most {most:,}"
        raise HTTPException(413, f"{where}: got {got}: shorten it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise HTTPException(
            422, f"{where}: half of a surrogate pair at character {error.start + 1}: remove it"
        ) from None
    return text


@asynccontextmanager
async def read_form(request: Request) -> AsyncIterator[tuple[UploadFile, dict[str, str]]]:
    """Receive a form: its file, and the fields of `FIELDS` that are not empty. Raises HTTPException."""
    try:
        form = await request.form(max_files=1, max_fields=len(FIELDS), max_part_size=LONGEST_FIELD)
    except FormParserError as error:  # newer versions of starlette catch it themselves
        raise HTTPException(400, f"not a valid form ({shorten(str(error), 100)})") from None
    try:
        file, fields = form.get("file"), {}
        if not isinstance(file, UploadFile):
            raise HTTPException(422, "the form has no file: send it in the field file")
        for name, value in form.multi_items():
            if name != "file" and name not in FIELDS:
                raise HTTPException(422, f"unknown field {shorten(name, 60)!r}: expected file, {' or '.join(FIELDS)}")
            if name != "file" and isinstance(value, str) and value.strip():
                fields[name] = value.strip()
        yield file, fields
    finally:
        await form.close()


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
