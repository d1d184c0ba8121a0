"""Show a word2vec run: its description, its progress and its results."""

from __future__ import annotations

from rich.progress import TextColumn

from core.spec.word_runs import VECTORS
from core.spec.words import Reviews, TrainingSplit, WordExperiment
from core.words.loop import Progress
from core.words.probes import Nearest
from core.words.run_folder import WordRunFolder
from core.words.run_state import WordState
from tasks.cli.commands import program_command
from tasks.cli.console import bar, console, errors, fact
from tasks.cli.paths import quoted
from tasks.cli.terminal import literal

PROGRAM = "tasks.word2vec"
LINES_PER_EPOCH = 4
"""Lines of progress per epoch where there is no terminal."""
WIDTH = 16
"""Width of the label column in the last lines of a run."""


def describe(experiment: WordExperiment, execution: dict, folder: WordRunFolder) -> None:
    """Print what is trained, before it is."""
    model, training, data = experiment.model, experiment.training, execution["data"]
    versions = ", ".join(f"{name} {version}" for name, version in execution["versions"].items() if name != "kernels")
    name = execution["implementation"]
    build = execution["versions"].get("kernels")
    shown = f"{name} ({build}, threads {execution['threads']})" if build else name
    fact("backend", f"{versions}; device {execution['device']}; implementation {shown}")
    fact("data", data["description"])
    fact("", f"{data['texts']:,} texts, {data['raw_words']:,} words; tokenizer {experiment.text.tokenizer}")
    fact(
        "",
        f"vocabulary {data['vocabulary']:,} (min count {experiment.text.min_count}), of which the texts have"
        f" {data['words']:,} words",
    )
    subsampled = f", subsample {training.subsample:g}" if training.subsample else ""
    fact(
        "model",
        f"{model.kind}, {model.dim} dimensions, window {model.window}, {model.negatives} negatives;"
        f" {2 * data['vocabulary'] * model.dim:,} parameters",
    )
    fact(
        "training",
        f"{training.epochs} epochs, {training.batch_size:,} predictions per step, learning rate"
        f" {training.learning_rate:g}{subsampled}, {training.dtype}, seed {training.seed}",
    )
    fact("run", str(folder.path))


class WordDisplay:
    """Show training (`core.words.loop.Observer`): a bar on a terminal, else lines; the probes at evaluations.

    `brief`, for vectors that a classifier starts from: the probes after the last epoch only.
    """

    def __init__(self, epochs: int, chunks: int, done: int, brief: bool = False) -> None:
        self.epochs, self.chunks, self.brief = epochs, chunks, brief
        self._live = errors.is_terminal
        self._lines = errors if errors.is_terminal and console.is_terminal else console
        self._line_every = max(chunks // LINES_PER_EPOCH, 1)
        self._next_line = done + self._line_every
        self._bar = bar(TextColumn("{task.fields[figures]}"))
        self._task = self._bar.add_task(f"epoch {done // chunks + 1}/{epochs}", total=epochs * chunks, figures="")
        self._bar.update(self._task, completed=done)

    def __enter__(self) -> WordDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def on_chunk(self, progress: Progress) -> None:
        figures = f"loss {progress.loss:.4f}  {progress.words_per_second:,.0f} words/s"
        name = f"epoch {progress.epoch}/{self.epochs}"
        self._bar.update(self._task, completed=progress.chunk, description=name, figures=figures)
        if not self._live and not self.brief and progress.chunk >= self._next_line:
            self._next_line = progress.chunk + self._line_every
            self._lines.print(f"{name}  chunk {progress.chunk}/{self.epochs * self.chunks}  {figures}")

    def on_evaluation(self, epoch: float, loss: float, nearest: Nearest) -> None:
        self._lines.print(f"epoch {epoch:g}/{self.epochs}  mean loss [bold]{loss:.4f}[/]")
        for word, found in () if self.brief and epoch < self.epochs else nearest.items():
            others = ", ".join(f"{other} {cosine:.3f}" for other, cosine in found)
            self._lines.print(literal(f"  {word}: {others}"))


def report(experiment: WordExperiment, execution: dict, folder: WordRunFolder, result: dict) -> None:
    """Print the results of a finished run."""
    console.print()
    console.print(f"mean loss of the last epoch [bold]{result['loss']:.4f}[/], {result['predictions']:,} predictions")
    memory = result["peak_memory_mb"]
    console.print(
        f"trained in {result['seconds']:.1f} s ({result['words_per_second']:,.0f} words/s, {result['cpu_seconds']:.1f}"
        f" CPU seconds{f', peak memory {memory:,} MB' if memory else ''})"
    )
    run = quoted(folder.path)
    fact("vectors", str(folder.path / VECTORS), WIDTH)
    fact("curves", str(folder.path / "curves.png"), WIDTH)
    word = next(iter(execution["probes"]), "WORD")
    fact("next", f"{program_command('tasks.words')} nearest {run} {quoted(word)}", WIDTH, command=True)
    if isinstance(experiment.data, TrainingSplit):  # the program that starts from them is running
        return
    reviews = isinstance(experiment.data, Reviews)
    program = program_command("tasks.imdb") if reviews else f"{program_command('tasks.classify')} TRAIN.csv"
    fact("", f"{program} --vectors {run} --embedding-dim {experiment.model.dim}", WIDTH, command=True)


def show_stopped(folder: WordRunFolder, state: WordState, epochs: int, chunks: int) -> None:
    """Print the command that resumes a stopped run."""
    done = state.epoch * chunks + state.place
    console.print(f"stopped at chunk {done} of {epochs * chunks}, checkpoint saved. Resume with:")
    console.print(literal(f"  {program_command(PROGRAM)} resume {quoted(folder.path)}"))
