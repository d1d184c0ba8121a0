"""The texts behind the names in `predictions.csv`, for people to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core import digits
from core.corpus import open_data
from core.documents import LONGEST, shorten
from core.download import Progress, no_progress
from core.errors import UserError
from core.sources import OFFICIAL_URL
from core.spec import Experiment

__all__ = ["LONGEST", "read_texts", "shorten"]


def read_texts(
    experiment: Experiment, fingerprint: str, names: set[str], cache_dir: Path, progress: Progress = no_progress
) -> dict[str, str]:
    """The texts of these names. Nothing is fetched.

    Raises UserError saying why, where the data are not there, or are no longer those of the run, which `fingerprint`
    tells.
    """
    data = experiment.data
    if data.kind == "digits":
        prepared = digits.prepare(data)
        test, tokens = prepared.test, prepared.vocabulary.tokens
        sequences = np.split(test.tokens, test.offsets[1:-1])
        return {
            name: " ".join(tokens[number] for number in sequence)
            for name, sequence in zip(test.names, sequences, strict=True)
            if name in names
        }
    if getattr(data, "source", "") == "official" and not (cache_dir / OFFICIAL_URL.rpartition("/")[2]).is_file():
        raise UserError("the official data are not in the cache")
    source = open_data(data, cache_dir, progress)
    if source.fingerprint != fingerprint:
        raise UserError("the data were changed since")
    return {own.name: own.text for own in source.documents() if own.name in names}
