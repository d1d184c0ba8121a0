"""Time word2vec against gensim: one run, in turns, on the same sentences.

    python -m tools.word_speed --data aclImdb.tar.gz --gensim PYTHON [--rounds 5] [--threads 1 2]

PYTHON is the interpreter of an environment with gensim; the project does not depend on it. Every timing is a process of
its own that trains one epoch; the CPU seconds are those of all its threads, without reading and building the
vocabulary. gensim keeps a word with probability sqrt(t / f) + t / f, the paper with sqrt(t / f): `equal share` raises t
until the same share of words is kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

KINDS = ("skip_gram", "cbow")
DIM, WINDOW, NEGATIVES, SUBSAMPLE, MIN_COUNT = 128, 5, 5, 1e-4, 5

GENSIM = """
import json, sys, time
from gensim.models import Word2Vec
path, skip_gram, threads, dim, window, negatives, subsample, min_count = json.loads(sys.argv[1])
sentences = [line.split() for line in open(path, encoding="utf-8")]
model = Word2Vec(vector_size=dim, window=window, negative=negatives, sample=subsample, min_count=min_count,
                 sg=skip_gram, workers=threads, epochs=1)
model.build_vocab(sentences)
wall, cpu = time.perf_counter(), time.process_time()
model.train(sentences, total_examples=model.corpus_count, epochs=1)
print(json.dumps([model.corpus_total_words, time.perf_counter() - wall, time.process_time() - cpu]))
"""


def kept_share(counts: np.ndarray, subsample: float, like_gensim: bool = False) -> float:
    """Return the share of words that subsampling keeps."""
    share = counts / counts.sum()
    kept = np.sqrt(subsample / share) + (subsample / share if like_gensim else 0.0)
    return float((share * np.minimum(1.0, kept)).sum())


def equal_share(counts: np.ndarray, subsample: float) -> float:
    """Return the threshold with which the paper's formula keeps as many words as gensim's with `subsample`."""
    wanted, low, high = kept_share(counts, subsample, like_gensim=True), subsample, 1.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if kept_share(counts, middle) >= wanted else (middle, high)
    return high


def train_here(path: Path, kind: str, threads: int, subsample: float | None) -> dict:
    """Train one epoch with the compiled kernel; `subsample` None: the equal share."""
    import time

    import backends
    from backends import kernels
    from core.data.prefetch import prefetch
    from core.engine.executor import Executor
    from core.spec.words import WordModel, WordText, WordTraining
    from core.words.corpus import build_corpus
    from core.words.examples import Sampler
    from core.words.reference import initial_vectors

    with path.open(encoding="utf-8") as lines:
        training = WordTraining(epochs=1, subsample=SUBSAMPLE)
        corpus = build_corpus((line.split() for line in lines), WordText(min_count=MIN_COUNT), training)
    if subsample is None:
        training = training.model_copy(update={"subsample": equal_share(corpus.counts, SUBSAMPLE)})
    model = WordModel(kind=kind, dim=DIM, window=WINDOW, negatives=NEGATIVES)  # pyright: ignore[reportArgumentType]
    kernels.set_threads(threads)
    vectors = initial_vectors(model, training, len(corpus.words))
    engine = backends.load(backends.first_installed()).WordEngine(vectors, Executor("cpu", "fast"))
    sampler = Sampler(corpus, model, training, engine.draw_noise)
    wall, cpu, predictions, kept = time.perf_counter(), time.process_time(), 0, 0
    chunks: Iterable = (sampler.draw(0, place) for place in range(len(sampler)))
    for examples in prefetch(chunks, depth=1) if threads > 1 else chunks:
        engine.train(examples)
        predictions += len(examples)
        kept += examples.kept
    return {
        "words": corpus.raw_words,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "predictions": predictions,
        "kept": kept,
        "subsample": training.subsample,
        "build": kernels.target(),
    }


def timed(python: str, path: Path, kind: str, threads: int, program: str) -> dict:
    """Run one timing in a process of its own; `program`: gensim, seqtwin or `seqtwin, equal share`."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if program == "gensim":
        given = [str(path), int(kind == "skip_gram"), threads, DIM, WINDOW, NEGATIVES, SUBSAMPLE, MIN_COUNT]
        command = [python, "-c", GENSIM, json.dumps(given)]
    else:
        command = [sys.executable, "-m", "tools.word_speed", "--child", json.dumps([str(path), kind, threads, program])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program}: {done.stderr.strip().splitlines()[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return dict(zip(("words", "wall", "cpu"), found, strict=True)) if program == "gensim" else found


def child(given: str) -> None:
    path, kind, threads, program = json.loads(given)
    print(json.dumps(train_here(Path(path), kind, threads, None if "equal" in program else SUBSAMPLE)))


PROGRAMS = ("gensim", "seqtwin", "seqtwin, equal share")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="archive or folder of the IMDB reviews")
    parser.add_argument("--gensim", help="Python interpreter with gensim")
    parser.add_argument("--texts", type=int, default=12_000, help="number of reviews [12000]")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions [5]")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads [1 2]")
    parser.add_argument("--cache-dir", default="~/.cache/seqtwin")
    parser.add_argument("--out", default="word_speed.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child)
        return
    if not given.data or not given.gensim:
        parser.error("--data and --gensim are required")
    from core.spec.words import Reviews, WordExperiment
    from core.words.texts import load_corpus

    corpus, _ = load_corpus(WordExperiment(data=Reviews(source=given.data)), Path(given.cache_dir).expanduser())
    ends = corpus.offsets[: given.texts + 1]
    lines = [" ".join(corpus.words[n] for n in corpus.ids[a:b]) for a, b in itertools.pairwise(ends)]
    runs: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "corpus.txt")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for number in range(given.rounds):
            for kind in KINDS:
                for threads in given.threads:
                    for program in PROGRAMS:
                        found = timed(given.gensim, path, kind, threads, program)
                        runs.append({"round": number, "kind": kind, "threads": threads, "program": program, **found})
                        per_cpu = found["words"] / found["cpu"]
                        print(f"{number + 1}  {kind:9}  {threads} threads  {program:20}  {per_cpu:11,.0f}", flush=True)
    Path(given.out).write_text(json.dumps({"texts": len(lines), "runs": runs}, indent=1) + "\n", encoding="utf-8")
    show(runs)


def show(runs: list[dict]) -> None:
    """Print the medians of raw words per second, and the ratios to gensim."""
    print(f"\n{'kind':9}  threads  {'program':20}  words per CPU s  words per s  to gensim")
    for kind, threads in sorted({(run["kind"], run["threads"]) for run in runs}, reverse=True):
        medians = {}
        for program in PROGRAMS:
            own = [run for run in runs if (run["kind"], run["threads"], run["program"]) == (kind, threads, program)]
            medians[program] = [statistics.median(run["words"] / run[unit] for run in own) for unit in ("cpu", "wall")]
            cpu, wall = medians[program]
            ratio = cpu / medians["gensim"][0]
            print(f"{kind:9}  {threads:7}  {program:20}  {cpu:15,.0f}  {wall:11,.0f}  {ratio:9.2f}")


if __name__ == "__main__":
    main()
