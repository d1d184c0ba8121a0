"""Preparation of encoded train, dev and test sets: tokenize, cache, split, encode.

A corpus is independent of vocabulary, truncation and splits, which are cheap: a change of these reuses the cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from core.batch import UNK
from core.data.class_checks import check_classes
from core.data.dataset import Dataset, Prepared
from core.data.documents import Source
from core.data.download import Progress, no_progress
from core.data.folds import tested_texts
from core.data.multilabel import check_label_sets, has_label_sets, strata_of
from core.data.ngrams.texts import LabeledTexts, Texts
from core.data.segmenters import segmenter
from core.data.sources.lookup import open_data
from core.data.splits import CODES, split_rows, without_duplicates
from core.data.token_workers import number_documents
from core.data.tokenizers import TOKENIZER_VERSION
from core.data.vocabulary import Vocabulary, truncated
from core.errors import UserError
from core.files import remove_unfinished, write_bytes_atomic
from core.spec.data import MovieReviews, PairedFiles, Table
from core.spec.text import Text
from core.strings import count_reasons, in_order

CORPUS_FORMAT = 3
"""Format version of the cache file, included in its key."""


ARRAYS = ("ids", "offsets", "labels", "splits", "groups", "texts")
"""Fields of a corpus that are cached unchanged."""


DIGEST_SIZE = hashlib.sha256().digest_size


NO_TOKENS, NO_LABEL = "without tokens", "without a label"
"""Reasons for skipping a text."""


@dataclass(frozen=True)
class Corpus:
    """Tokenized texts as concatenated provisional ids.

    Text n is `ids[offsets[n]:offsets[n + 1]]`. `tokens`: the string of every provisional id, in order of first
    occurrence; `ids` [total] int32; `offsets` [N + 1] int64; `labels` [N] int64, indices into `classes`; `names`: N
    strings; `splits` [N] int8 by `splits.CODES`; `groups` [N] int32, the film number, -1 if unknown; `texts` [N]
    uint64, digests of the texts. `skipped` counts skipped texts by reason.
    """

    tokens: list[str]
    ids: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    classes: list[str]
    names: list[str]
    splits: np.ndarray
    groups: np.ndarray
    texts: np.ndarray
    skipped: dict[str, int]

    def __len__(self) -> int:
        return len(self.labels)

    def sequence(self, row: int) -> np.ndarray:
        """Return the provisional ids of one text."""
        return self.ids[self.offsets[row] : self.offsets[row + 1]]


def load_corpus(
    data: MovieReviews | PairedFiles | Table, text: Text, cache_dir: str | Path, progress: Progress = no_progress
) -> tuple[Corpus, Source]:
    """Return the tokenized source, from the cache if it is valid.

    Raises UserError like `open_data` and `cached_corpus`.
    """
    cache_dir = Path(cache_dir)
    source = open_data(data, cache_dir, progress)
    return cached_corpus(source, text, cache_dir, progress), source


def cached_corpus(
    source: Source, text: Text, cache_dir: Path, progress: Progress = no_progress, activity: str = "tokenizing"
) -> Corpus:
    """Return the tokenized source, from the cache if it is valid; `activity` names the tokenization to `progress`.

    Different documents need different fingerprints. A damaged cache file is rebuilt, with the reason in the progress
    line. A cache that cannot be written causes a warning. Raises UserError like `Source.documents` and
    `make_tokenizer`, and for a text without tokens.
    """
    how = [text.tokenizer, text.lowercase, TOKENIZER_VERSION, segmenter(text), text.jieba_hmm, text.signs]
    how += ["half width"] if text.half_width else []
    key = json.dumps([CORPUS_FORMAT, source.fingerprint, *how])
    path = cache_dir / f"corpus-{text.tokenizer}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    try:
        return _unpack(path, key)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        activity = f"{activity} again, cache file {path.name} is invalid ({_one_line(error)})"
    corpus = build_corpus(source, text, progress, activity)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        remove_unfinished(cache_dir)
        write_bytes_atomic(path, _pack(corpus, key))
    except (OSError, UserError) as error:
        warnings.warn(f"tokenized texts are not cached: {error}", stacklevel=2)
    return corpus


def build_corpus(source: Source, text: Text, progress: Progress = no_progress, activity: str = "tokenizing") -> Corpus:
    """Tokenize every document of `source`; only ids are kept.

    Raises UserError for a text without tokens, unless `source` is lenient, and if no text remains.
    """
    films: defaultdict[str, int] = defaultdict(count().__next__)
    found: defaultdict[str, int] = defaultdict(count().__next__)
    tokens: list[str] = []
    ids, offsets, labels = array("i"), array("q", [0]), array("i")
    splits, groups, texts, names, skipped = array("b"), array("i"), array("Q"), [], Counter()
    progress(activity, 0, source.total)
    for documents, numbered in number_documents(source.documents(), text, size=source.size):
        tokens += numbered.new
        ids.frombytes(numbered.ids.tobytes())
        for document, length, digest in zip(
            documents, numbered.lengths.tolist(), numbered.digests.tolist(), strict=True
        ):
            if not length and not source.lenient:
                raise UserError(
                    f"{document.name}: the {text.tokenizer} tokenizer finds no tokens in this text: "
                    f"remove the text, or choose another text.tokenizer"
                )
            if not length or not document.label:
                skipped[NO_LABEL if length else NO_TOKENS] += 1
                continue
            offsets.append(offsets[-1] + length)
            labels.append(found[document.label])
            splits.append(CODES[document.split])
            groups.append(films[document.group] if document.group else -1)
            texts.append(digest)
            names.append(document.name)
        progress(activity, len(names), source.total)
    if not names:
        reasons = f"skipped {count_reasons(skipped)}" if skipped else "it is empty"
        raise UserError(f"{source.description}: no text to train on ({reasons}): add labeled texts")
    classes = list(source.classes or in_order(set(found)))
    order = np.array([classes.index(label) for label in found], dtype=np.int64)
    return Corpus(
        tokens=tokens,
        ids=np.frombuffer(ids, dtype=np.int32),
        offsets=np.frombuffer(offsets, dtype=np.int64),
        labels=order[np.frombuffer(labels, dtype=np.int32)],
        classes=classes,
        names=names,
        splits=np.frombuffer(splits, dtype=np.int8),
        groups=np.frombuffer(groups, dtype=np.int32),
        texts=np.frombuffer(texts, dtype=np.uint64),
        skipped=dict(skipped),
    )


def divided(
    corpus: Corpus, data: MovieReviews | PairedFiles | Table, text: Text
) -> tuple[dict[str, np.ndarray], dict, dict[str, int]]:
    """Return the rows of every split, how they were split, and the number of skipped texts by reason.

    Raises UserError if a split that has its own file has no text.
    """
    labels, marks, skipped = corpus.labels, corpus.splits, dict(corpus.skipped)
    if data.duplicates == "drop":
        keep, dropped = without_duplicates(corpus.ids, corpus.offsets, labels, marks, corpus.texts)
        marks = np.where(keep, marks, np.int8(-1))
        skipped |= {reason.replace("TOKENIZER", text.tokenizer): number for reason, number in dropped.items()}
    for part in ("dev", "test"):
        if getattr(data, part, None) is not None and not (marks == CODES[part]).any():
            raise UserError(
                f"{getattr(data, part)}: no usable text for the {part} split"
                f" (skipped in all splits: {count_reasons(skipped)}): add other texts"
            )
    strata = strata_of(labels, corpus.classes) if has_label_sets(data) else labels
    rows, summary = split_rows(marks, strata, corpus.groups, data, tested_texts(corpus, marks, data))
    return rows, summary, skipped


def prepare(
    corpus: Corpus, data: MovieReviews | PairedFiles | Table, text: Text, classes: int | None = None
) -> Prepared:
    """Split, build the vocabulary from the training split, encode and truncate.

    The result depends on the arguments alone. The classes of data with several labels per text are sets of labels
    (`core/data/multilabel.py`). Raises UserError if the number of labels is not `classes` (None: at least two), if a
    split has no text, or if train lacks a label.
    """
    rows, summary, skipped = divided(corpus, data, text)
    labels = corpus.labels
    if has_label_sets(data):
        check_label_sets(corpus, rows, data)
    else:
        check_classes(corpus, rows, data, classes)
    train_ids = _joined(corpus, rows["train"])
    vocabulary = Vocabulary.build(corpus.tokens, np.bincount(train_ids, minlength=len(corpus.tokens)), text)
    del train_ids
    summary |= {"vocabulary": len(vocabulary), "left_out": skipped}
    final_ids = vocabulary.encode(corpus.tokens).astype(np.int32)
    full = np.diff(corpus.offsets)
    sets = {}
    for part, chosen in rows.items():
        ids, offsets = truncated(corpus.ids, corpus.offsets, chosen, text)
        names = [corpus.names[row] for row in chosen.tolist()]
        dataset = Dataset(final_ids[ids], offsets, {"label": labels[chosen]}, names, tuple(corpus.classes))
        sets[part] = dataset
        summary[part] = {
            "documents": len(dataset),
            "per_class": np.bincount(dataset.labels, minlength=len(corpus.classes)).tolist(),
            "tokens": len(dataset.tokens),
            "mean_length": round(float(full[chosen].mean()), 2),
            "max_length": int(full[chosen].max()),
            "truncated": int((full[chosen] > text.max_length).sum()),
            "unknown_share": round(float((dataset.tokens == UNK).mean()), 6),
        }
    return Prepared(
        vocabulary,
        sets["train"],
        sets["dev"],
        sets["test"],
        corpus.classes,
        summary,
        whole=lambda part: _labeled(corpus, rows[part]),
        digests={part: corpus.texts[chosen] for part, chosen in rows.items()},
    )


def texts_of(corpus: Corpus, rows: np.ndarray) -> Texts:
    """Return these complete texts, `rows` in ascending order."""
    offsets = np.concatenate(([0], np.cumsum(np.diff(corpus.offsets)[rows])))
    return Texts(corpus.tokens, _joined(corpus, rows), offsets)


def _labeled(corpus: Corpus, rows: np.ndarray) -> LabeledTexts:
    """Return these complete texts with their labels."""
    return LabeledTexts(texts_of(corpus, rows), corpus.labels[rows], corpus.groups[rows], len(corpus.classes))


def _joined(corpus: Corpus, rows: np.ndarray) -> np.ndarray:
    """Return the concatenated provisional ids of these texts, `rows` in ascending order."""
    wanted = np.zeros(len(corpus), dtype=bool)
    wanted[rows] = True
    return corpus.ids[np.repeat(wanted, np.diff(corpus.offsets))]


def _pack(corpus: Corpus, key: str) -> memoryview:
    """Return an .npz without pickles, followed by its SHA-256.

    Lists of strings are UTF-8 joined by line feeds, which no token or name contains. The digest is needed because
    corrupt bytes in a zip archive, or in NumPy's headers, raise any of a dozen exceptions, or none.
    """
    buffer = io.BytesIO()
    np.savez(
        buffer,
        key=_join([key]),
        tokens=_join(corpus.tokens),
        names=_join(corpus.names),
        more=_join([json.dumps({"classes": corpus.classes, "left_out": corpus.skipped})]),
        **{field: getattr(corpus, field) for field in ARRAYS},
    )
    digest = hashlib.sha256(buffer.getbuffer()).digest()
    buffer.write(digest)
    return buffer.getbuffer()


def _unpack(path: Path, key: str) -> Corpus:
    """Read what `_pack` wrote for `key`. Raises OSError if unreadable, ValueError if invalid."""
    packed = memoryview(path.read_bytes())
    content, digest = packed[:-DIGEST_SIZE], packed[-DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("checksum mismatch")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        if _split(file["key"]) != [key]:
            raise ValueError("it belongs to other data or settings")
        arrays = {field: file[field] for field in ARRAYS}
        more = json.loads(_split(file["more"])[0])
        words = {"tokens": _split(file["tokens"]), "names": _split(file["names"])}
        return Corpus(**words, classes=more["classes"], skipped=more["left_out"], **arrays)


def _join(strings: list[str]) -> np.ndarray:
    return np.frombuffer("\n".join(strings).encode("utf-8"), dtype=np.uint8)


def _split(joined: np.ndarray) -> list[str]:
    return joined.tobytes().decode("utf-8").split("\n")


def _one_line(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:100]
