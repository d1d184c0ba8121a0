"""Print a run's description and its results."""

from __future__ import annotations

from backends import implementations
from core.models.embedding import Embedding
from core.models.heads import LanguageHead
from core.models.model import Model, parameter_count
from core.strings import count_reasons
from core.train.record import Run
from tasks.cli.commands import program_command, run_command
from tasks.cli.console import console, fact
from tasks.cli.paths import quoted
from tasks.cli.terminal import literal
from tasks.run.present import presenter
from tasks.run.present.baselines import baseline_lines
from tasks.run.task import Task

GRADIENTS = "gradients.png"
"""Picture of the gradient norms by layer, in the folder of a run with `watch_gradients`."""
WIDTH = 16
"""Width of the label column in the last lines of a run."""


def describe(run: Run) -> None:
    """Print the description of a run, before it trains."""
    experiment, execution = run.experiment, run.execution
    model, data = experiment.model, run.texts
    versions = ", ".join(f"{name} {version}" for name, version in execution["versions"].items() if name != "kernels")
    fact("task", f"{experiment.task}, recipe {experiment.recipe}")
    fact("backend", f"{versions}; device {execution['device']}; implementation {_layers(run)}")
    fact("data", data["description"])
    counts = ", ".join(f"{data[part]['documents']:,} {part}" for part in ("train", "dev", "test"))
    fact("", f"{counts}; dev split {data['dev_split']}; vocabulary {len(run.data.vocabulary):,}")
    if "unlabeled" in data:
        more, own = data["unlabeled"], experiment.training
        fact("", f"{more['documents']:,} unlabeled texts, {own.unlabeled_batch_size} in every batch")
    if data.get("left_out"):
        fact("", f"skipped: {count_reasons(data['left_out'])}")
    presenter(experiment).describe(run)
    if "tokenized_by" in execution:
        fact("text", f"tokenized by {execution['tokenized_by']}{'' if experiment.text.jieba_hmm else ', HMM off'}")
    size = "" if model.is_linear else f", {parameter_count(model):,} parameters"
    fact("model", f"{model.describe()}{size}")
    if "ngrams" in execution:
        fact("n-grams", ngrams_line(execution["ngrams"], model))
    if "vectors" in execution:
        fact("vectors", _vectors(execution["vectors"], model.embedding))
    if "start" in execution:
        fact("start", _start(execution["start"]))
    if "word2vec" in execution:
        fact("", _training(execution["word2vec"]))
    fact("run", str(run.folder.path))


def report(task: Task, run: Run, result: dict, example: str) -> None:
    """Print the results of a finished run; `example` is the sample text if the task has none."""
    folder, experiment, training = run.folder, run.experiment, result["training"]
    console.print()
    console.print(presenter(experiment).headline(result))
    for line in baseline_lines(result, experiment):
        console.print(literal(line))
    epochs, memory, share = training["epoch_seconds"], result["peak_memory_mb"], training["device_share"]
    console.print(
        f"trained in {training['seconds']:.0f} s ({sum(epochs) / max(len(epochs), 1):.1f} s per epoch,"
        f" {training['tokens_per_second']:,.0f} tokens/s"
        + ("" if share is None else f", {'CPU' if result['device'] == 'cpu' else 'GPU'} busy {share:.0%}")
        + (f", peak memory {memory:,} MB)" if memory else ")")
    )
    fact("curves", str(folder.path / "curves.png"), WIDTH)
    if run.experiment.training.watch_gradients:
        fact("gradients", str(folder.path / GRADIENTS), WIDTH)
    for name, picture in presenter(experiment).PICTURES.items():
        if (folder.path / picture).is_file():
            fact(name, str(folder.path / picture), WIDTH)
    fact("report", f"{program_command('tasks.report')} {quoted(folder.path)}", WIDTH, command=True)
    if isinstance(experiment.model.head, LanguageHead):
        fact("next", f"{run_command(task.program, 'evaluate')} {quoted(folder.path)}", WIDTH, command=True)
        return
    text = f'"{task.example}"' if task.example else quoted(example or "a text")
    fact("next", f"{run_command(task.program, 'predict')} {quoted(folder.path)} {text}", WIDTH, command=True)


MISSING = {"init": "initialized randomly", "zero": "zero", "mean": "their mean"}
"""Initial rows of words without a vector, by `vectors_missing`."""


def ngrams_line(record: dict, model: Model) -> str:
    """Return what was found out about the n-grams, and whether the model has them."""
    accuracy, largest = record["left_out_accuracy"], record["largest_class"]
    line = f"accuracy {accuracy:.4f} on left-out training texts, the largest class {largest:.4f}"
    if model.ngrams is None:
        return f"{line}: not useful, so the network is alone (--no-ngrams trains it longer)"
    return f"{record['number']:,}; {line}"


def _vectors(record: dict, embedding: Embedding) -> str:
    found, words = record["found"], record["found"] + record["missing"]
    scaled = f", scaled by {embedding.vectors_scale:g}" if embedding.vectors_scale != 1.0 else ""
    return (
        f"{record['source']}: {found:,} of {words:,} words found ({100 * found / words:.1f} %),"
        f" the rest {MISSING[embedding.vectors_missing]}{scaled}; {'trainable' if embedding.trainable else 'frozen'}"
    )


def _start(record: dict) -> str:
    """Return the run that gave initial values, and which."""
    found, words = record["found"], record["found"] + record["missing"]
    encoder = any(name.startswith("encoder.") for name in record["parameters"])
    return (
        f"{record['source']} (task {record['task']}): vectors of {found:,} of {words:,} words"
        f" ({100 * found / words:.1f} %){', encoder' if encoder else ''};"
        f" drawn: {len(record['drawn'])} parameters{' and the other words' if record['missing'] else ''}"
    )


def _training(record: dict) -> str:
    """Return how the vectors of the section `words` were trained, and where they are."""
    data, spec = record["data"], record["experiment"]
    return (
        f"{spec['model']['kind']}, {spec['training']['epochs']} epochs on {data['raw_words']:,} words of"
        f" {data['texts']:,} texts: {record['folder']}"
    )


def _layers(run: Run) -> str:
    """Return the implementation with its build, or with the reason why `fast` is unavailable."""
    execution = run.execution
    name, reason = execution["implementation"], implementations.why_not_fast(execution["device"])
    if "fast" not in run.experiment.model.implementations:
        return name
    if name == "fast":
        return f"fast ({execution['versions']['kernels']})"
    return f"{name} (fast unavailable: {reason})" if reason else name
