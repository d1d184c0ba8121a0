"""From a source of reviews to encoded train, dev and test sets: tokenise once, keep that on disk, split, encode.

A corpus is independent of vocabulary, truncation and split, which are cheap: trying another of those reads the cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from array import array
from collections import defaultdict
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from core.batches import UNK, Dataset
from core.download import Progress, no_progress
from core.errors import UserError
from core.files import write_bytes_atomic
from core.sources import Source, open_source
from core.spec import Data, Text
from core.streams import generator
from core.tokenizers import TOKENIZER_VERSION, make_tokenizer
from core.vocabulary import Vocabulary, truncate

CORPUS_FORMAT = 1
"""Of the cache file; part of its key."""

ARRAYS = ("ids", "offsets", "labels", "splits", "groups")
"""Fields of a corpus that are kept as they are."""

DIGEST_SIZE = hashlib.sha256().digest_size

SPLIT_CODES = {"": 0, "train": 1, "test": 2}


@dataclass(frozen=True)
class Corpus:
    """Whole texts as provisional ids, end to end: text n is `ids[offsets[n]:offsets[n + 1]]`.

    `tokens` the string of every provisional id, in the order first seen; `ids` [total] int32; `offsets` [N + 1] int64;
    `labels` [N] int64; `names` N strings; `splits` [N] int8 by SPLIT_CODES; `groups` [N] int32, the film's number, -1
    where it is not known.
    """

    tokens: list[str]
    ids: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    names: list[str]
    splits: np.ndarray
    groups: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def sequence(self, row: int) -> np.ndarray:
        """Provisional ids of one text."""
        return self.ids[self.offsets[row] : self.offsets[row + 1]]


@dataclass(frozen=True)
class Prepared:
    """What training needs: the vocabulary of the train part, three encoded sets, and figures for the record.

    `summary` is JSON: `dev_split`, `test_split`, `vocabulary`, and for `train`, `dev`, `test` the `documents`, how many
    `per_class`, `tokens` (after truncation), `mean_length` and `max_length` (before), `truncated` texts and
    `unknown_share`, the share of kept tokens that are UNK.
    """

    vocabulary: Vocabulary
    train: Dataset
    dev: Dataset
    test: Dataset
    summary: dict


def load_corpus(
    data: Data, text: Text, cache_dir: str | Path, progress: Progress = no_progress
) -> tuple[Corpus, Source]:
    """The tokenised source, from the cache where it is there and sound.

    A damaged cache file is built again, and the progress line says why. A cache that cannot be written is a warning.
    Raises UserError as `open_source`, `Source.documents` and `make_tokenizer` do, and for a text without tokens.
    """
    cache_dir = Path(cache_dir)
    source = open_source(data.source, cache_dir, progress)
    key = json.dumps([CORPUS_FORMAT, source.fingerprint, text.tokenizer, text.lowercase, TOKENIZER_VERSION])
    path = cache_dir / f"corpus-{text.tokenizer}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    activity = "tokenising"
    try:
        return _unpack(path, key), source
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        activity = f"tokenising again, as {path.name} in the cache cannot be used ({_one_line(error)})"
    corpus = build_corpus(source, text, progress, activity)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(path, _pack(corpus, key))
    except (OSError, UserError) as error:
        warnings.warn(f"the tokenised reviews are not kept for the next run: {error}", stacklevel=2)
    return corpus, source


def build_corpus(source: Source, text: Text, progress: Progress = no_progress, activity: str = "tokenising") -> Corpus:
    """Tokenise every document of `source`; only ids are kept. Raises UserError for a text without tokens."""
    tokenize = make_tokenizer(text)
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    films: defaultdict[str, int] = defaultdict(count().__next__)
    number_of = numbers.__getitem__
    ids, offsets, labels, splits, groups, names = array("i"), [0], [], [], [], []
    progress(activity, 0, source.total)
    for document in source.documents():
        tokens = tokenize(document.text)
        if not tokens:
            raise UserError(
                f"{document.name}: the text has no tokens under the {text.tokenizer} tokenizer: "
                f"remove it, or choose another text.tokenizer"
            )
        ids.extend(map(number_of, tokens))
        offsets.append(len(ids))
        labels.append(document.label)
        splits.append(SPLIT_CODES[document.split])
        groups.append(films[document.group] if document.group else -1)
        names.append(document.name)
        if len(names) % 250 == 0:
            progress(activity, len(names), source.total)
    progress(activity, len(names), source.total)
    return Corpus(
        tokens=list(numbers),
        ids=np.frombuffer(ids, dtype=np.int32) if ids else np.zeros(0, np.int32),
        offsets=np.array(offsets, dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
        names=names,
        splits=np.array(splits, dtype=np.int8),
        groups=np.array(groups, dtype=np.int32),
    )


def prepare(corpus: Corpus, data: Data, text: Text, classes: int = 2) -> Prepared:
    """Split, build the vocabulary from the train part, encode and truncate. A function of its arguments alone.

    Raises UserError if the labels are not 0..classes-1, or a part lacks a class.
    """
    present = np.unique(corpus.labels).tolist()
    if present != list(range(classes)):
        raise UserError(f"the model has {classes} classes, and the labels of the data are {present}: set head.classes")
    rows, summary = split_rows(corpus, data)
    for part, chosen in rows.items():
        missing = set(present) - set(corpus.labels[chosen].tolist())
        if missing:
            raise UserError(
                f"the {part} part has no text of class {min(missing)}: use more texts, or raise data.dev_share, "
                f"data.test_share or data.train_limit"
            )
    sequences = {part: [corpus.sequence(row) for row in chosen] for part, chosen in rows.items()}
    counts = np.bincount(np.concatenate(sequences["train"]), minlength=len(corpus.tokens))
    vocabulary = Vocabulary.build(corpus.tokens, counts, text)
    summary["vocabulary"] = len(vocabulary)
    final_ids = vocabulary.encode(corpus.tokens).astype(np.int32)
    sets = {}
    for part, chosen in rows.items():
        dataset = _dataset(
            [truncate(sequence, text) for sequence in sequences[part]],
            corpus.labels[chosen],
            [corpus.names[row] for row in chosen],
            final_ids,
        )
        full = np.diff(corpus.offsets)[chosen]
        sets[part] = dataset
        summary[part] = {
            "documents": len(dataset),
            "per_class": np.bincount(dataset.labels, minlength=classes).tolist(),
            "tokens": len(dataset.tokens),
            "mean_length": round(float(full.mean()), 2),
            "max_length": int(full.max()),
            "truncated": int((full > text.max_length).sum()),
            "unknown_share": round(float((dataset.tokens == UNK).mean()), 6),
        }
    return Prepared(vocabulary, sets["train"], sets["dev"], sets["test"], summary)


@dataclass(frozen=True)
class EncodedText:
    """One text as a model sees it."""

    ids: np.ndarray
    """[L] int64"""
    tokens: list[str]
    """[L], as they are shown: one that the vocabulary lacks in square brackets."""
    unknown: list[str]
    """Those that it lacks."""
    cut: int = 0
    """Tokens that truncation left out."""


def encode_text(string: str, vocabulary: Vocabulary, text: Text, where: str) -> EncodedText:
    """Raises UserError, naming `where`, if the text has no tokens."""
    tokens = make_tokenizer(text)(string)
    if not tokens:
        raise UserError(f"{where} is empty for the {text.tokenizer} tokenizer: give it at least one word")
    kept = [tokens[place] for place in truncate(np.arange(len(tokens)), text)]
    ids = vocabulary.encode(kept)
    known = [number != UNK for number in ids]
    shown = [token if is_known else f"[{token}]" for token, is_known in zip(kept, known, strict=True)]
    unknown = [token for token, is_known in zip(kept, known, strict=True) if not is_known]
    return EncodedText(ids, shown, unknown, cut=len(tokens) - len(kept))


def encode_texts(texts: list[str], vocabulary: Vocabulary, text: Text) -> Dataset:
    """Texts to predict for, as a data set of labels 0 and names "1", "2", ...

    Raises UserError if there is no text, or one has no tokens.
    """
    if not texts:
        raise UserError("there is no text to predict for: give at least one")
    tokenize = make_tokenizer(text)
    sequences = []
    for number, string in enumerate(texts, start=1):
        tokens = tokenize(string)
        if not tokens:
            raise UserError(f"text {number} is empty for the {text.tokenizer} tokenizer: give it at least one word")
        sequences.append(truncate(vocabulary.encode(tokens).astype(np.int32), text))
    names = [str(number) for number in range(1, len(texts) + 1)]
    return _dataset(sequences, np.zeros(len(texts), np.int64), names)


def split_rows(corpus: Corpus, data: Data) -> tuple[dict[str, np.ndarray], dict]:
    """Row numbers of `train`, `dev` and `test`, ascending and disjoint, and how they were split (for the summary).

    Marked texts keep their part, and dev is cut from train: whole films where films are known, else at random with
    equal shares of each class. Unmarked texts are cut in three at random, with equal shares of each class.
    """
    own_test = np.flatnonzero(corpus.splits == SPLIT_CODES["test"])
    marked = np.flatnonzero(corpus.splits == SPLIT_CODES["train"])
    unmarked = np.flatnonzero(corpus.splits == SPLIT_CODES[""])
    by_film = bool((corpus.groups[marked] >= 0).any())
    if by_film:
        train, dev = _split_by_group(marked, corpus.groups[marked], data.dev_share, data.split_seed)
    else:
        train, dev = _split_at_random(marked, corpus.labels, [data.dev_share], data.split_seed)
    rest, more_dev, cut_test = _split_at_random(
        unmarked, corpus.labels, [data.dev_share, data.test_share], data.split_seed
    )
    parts = {
        "train": np.concatenate((train, rest)),
        "dev": np.concatenate((dev, more_dev)),
        "test": np.concatenate((own_test, cut_test)),
    }
    if data.train_limit is not None:
        parts = {
            part: _limited(rows, corpus.labels, data.train_limit, data.split_seed, part) for part, rows in parts.items()
        }
    summary = {
        "dev_split": "by film" if by_film else "at random",
        "test_split": "the data's own" if len(own_test) else "at random",
    }
    return {part: np.sort(rows) for part, rows in parts.items()}, summary


def _split_by_group(rows: np.ndarray, groups: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole groups, in a shuffled order, until `share` of the rows is reached; a row of no group is a group."""
    groups = np.where(groups >= 0, groups.astype(np.int64), -1 - np.arange(len(rows)))
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = generator(seed, "split").permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[order[before < share * len(rows)]] = True
    return rows[~chosen[group]], rows[chosen[group]]


def _split_at_random(rows: np.ndarray, labels: np.ndarray, shares: list[float], seed: int) -> list[np.ndarray]:
    """The rest, then one part for each share, each with that share of every class."""
    parts = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels[rows]):
        own = rows[labels[rows] == label]
        shuffled = own[generator(seed, "split", int(label)).permutation(len(own))]
        cuts = np.cumsum([round(share * len(own)) for share in shares])
        *held_out, rest = np.split(shuffled, cuts)
        for part, piece in zip(parts, [rest, *held_out], strict=True):
            part.append(piece)
    return [np.concatenate(part) if part else np.zeros(0, np.int64) for part in parts]


def _limited(rows: np.ndarray, labels: np.ndarray, limit: int, seed: int, part: str) -> np.ndarray:
    """At most `limit` rows, classes as equal as they come; a smaller limit gives a subset of a larger one's."""
    if len(rows) == 0:
        return rows
    classes = np.unique(labels[rows])
    chosen = []
    for place, label in enumerate(classes):
        own = rows[labels[rows] == label]
        quota = limit // len(classes) + (place < limit % len(classes))
        chosen.append(own[generator(seed, "limit", part, int(label)).permutation(len(own))[:quota]])
    return np.concatenate(chosen)


def _dataset(
    sequences: list[np.ndarray], labels: np.ndarray, names: list[str], final_ids: np.ndarray | None = None
) -> Dataset:
    """Join sequences; `final_ids` maps provisional ids to the vocabulary's."""
    tokens = np.concatenate(sequences)
    offsets = np.concatenate(([0], np.cumsum([len(sequence) for sequence in sequences], dtype=np.int64)))
    return Dataset(tokens if final_ids is None else final_ids[tokens], offsets, labels, names)


def _pack(corpus: Corpus, key: str) -> bytes:
    """An .npz without pickles, then its SHA-256.

    Lists of strings are UTF-8 joined by line feeds, which no token or name holds. The digest is there because wrong
    bytes in a zip archive, or in NumPy's headers, surface as any of a dozen exceptions, or not at all.
    """
    buffer = io.BytesIO()
    np.savez(
        buffer,
        key=_join([key]),
        tokens=_join(corpus.tokens),
        names=_join(corpus.names),
        **{field: getattr(corpus, field) for field in ARRAYS},
    )
    content = buffer.getvalue()
    return content + hashlib.sha256(content).digest()


def _unpack(path: Path, key: str) -> Corpus:
    """Raises OSError if the file cannot be read, ValueError if it is not what `_pack` made for `key`."""
    packed = memoryview(path.read_bytes())
    content, digest = packed[:-DIGEST_SIZE], packed[-DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("its checksum is wrong")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        if _split(file["key"]) != [key]:
            raise ValueError("it belongs to other data")
        arrays = {field: file[field] for field in ARRAYS}
        return Corpus(tokens=_split(file["tokens"]), names=_split(file["names"]), **arrays)


def _join(strings: list[str]) -> np.ndarray:
    return np.frombuffer("\n".join(strings).encode("utf-8"), dtype=np.uint8)


def _split(joined: np.ndarray) -> list[str]:
    return joined.tobytes().decode("utf-8").split("\n")


def _one_line(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:100]
