"""Plot the gates of a trained LSTM or GRU per token as heat maps, and save the values as JSON.

python -m tasks.gates RUN --sequence 6 7 0 0 1 0 0 0 0 0
python -m tasks.gates RUN --text "I loved every minute." --direction reverse
python -m tasks.gates RUN --text "I loved every minute." --gradient

The values are computed with NumPy (`core/analysis/gates.py`), so no framework is needed. All panels sort units in the
same order to show structure (`core.plots.gates.unit_order`); the JSON file holds it as `unit_order`.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np

from core.analysis.cell_gradient import TERMS, TOTAL, term_norms
from core.analysis.gates import Place, check_place
from core.batch import UNK
from core.data.encode import EncodedText, encode_text
from core.data.vocabulary import Vocabulary
from core.errors import UserError
from core.files import write_json_atomic
from core.models.encoders.recurrent import RecurrentEncoder
from core.models.model import Model
from core.models.precision import rounding_of
from core.plots.cell_gradient import draw_cell_gradient
from core.plots.gates import draw_gates, unit_order
from core.schema import of_kind
from core.spec.experiment import Experiment
from core.spec.text import Text
from core.train.run_folder import RunFolder
from tasks.cli.commands import program_command
from tasks.cli.console import Parser, fact, launch
from tasks.cli.streams import keep_working
from tasks.run.gate_values import DIRECTIONS, GateValues, gate_values
from tasks.run.latest import named_run

PROGRAM = "tasks.gates"
LISTED = 24
"""Largest vocabulary whose tokens an error message lists."""
SLUG = 40
"""Maximum characters of the tokens in a file name."""


def main(argv: list[str]) -> int:
    arguments = _parser().parse_args(argv)
    keep_working("the program")
    if arguments.direction not in DIRECTIONS:
        raise UserError(f"--direction {arguments.direction}: choose one of {', '.join(DIRECTIONS)}")
    if (arguments.sequence is None) == (arguments.text is None):
        raise UserError("expected one of --sequence and --text: give exactly one")
    place = Place(arguments.layer, arguments.direction == "reverse")
    folder = RunFolder.open(Path(named_run(arguments.run)))
    experiment, execution = folder.read_record()
    model, classes = experiment.model, execution["classes"]
    try:
        check_place(model, place)
    except UserError as error:
        raise UserError(f"{folder.path}: {error}") from None
    vocabulary = folder.read_vocabulary(model)
    if arguments.text is None:
        sequence = ready_tokens(arguments.sequence, vocabulary, folder.path / "vocab.json")
    else:
        sequence = encode_text(arguments.text, vocabulary, experiment.text, "--text")
    picture = _picture(arguments.out, folder.path, sequence, place, arguments.gradient)
    found = gate_values(folder, experiment, classes, sequence, place)
    values, quantities = found.values, found.quantities
    try:
        norms = _norms(folder, experiment, found) if arguments.gradient else None
    except UserError as error:
        raise UserError(f"--gradient: {error}") from None
    tree = {
        "run": str(folder.path),
        "model": model.model_dump(mode="json"),
        "layer": place.layer,
        "direction": arguments.direction,
        "tokens": sequence.tokens,
        "ids": sequence.ids.tolist(),
        "classes": classes,
        "probabilities": found.probabilities.tolist(),
        "unit_order": unit_order(values)[0].tolist(),
        "values": {name: array.tolist() for name, array in values.items()},
    }
    if norms is not None:
        tree["cell_gradient_norms"] = {name: array.tolist() for name, array in norms.items()}
    write_json_atomic(picture.with_suffix(".json"), tree, indent=None)
    title = found.title(folder.path.resolve().name)
    draw_gates(values, quantities, sequence.tokens, title, picture)
    if norms is not None:
        read = sequence.tokens[::-1] if place.reverse else sequence.tokens
        draw_cell_gradient(norms, read, f"{title}\ndc_t/dc_(t-1), term by term", gradient_picture(picture))

    fact("run", f"{folder.path} (task {experiment.task})")
    fact("model", f"{model.encoder.describe()}; {found.where}")
    fact("input", _describe(sequence, experiment.text))
    fact("output", found.answer)
    fact("picture", str(picture))
    if norms is not None:
        medians = ", ".join(f"{title} {np.median(norms[name]):.3g}" for name, title in (*TERMS.items(), (TOTAL, "sum")))
        fact("gradient", str(gradient_picture(picture)))
        fact("norms", f"of dc_t/dc_(t-1), median of {len(norms[TOTAL])} steps: {medians}")
    fact("values", f"{picture.with_suffix('.json')} ({', '.join(values)}: [{len(sequence.ids)}, {_units(model)}] each)")
    return 0


def _norms(folder: RunFolder, experiment: Experiment, found: GateValues) -> dict[str, np.ndarray]:
    """Return the norms of dc_t/dc_(t-1), term by term. Raises UserError like `term_norms`."""
    model, rounded = found.model, rounding_of(experiment.training.dtype)
    return term_norms(model, folder.read_best(model), found.values, found.place, rounded)


def ready_tokens(given: list[str], vocabulary: Vocabulary, where: Path) -> EncodedText:
    """Encode tokens of the vocabulary; an argument may hold several, separated by white space.

    Raises UserError if there is none, or for the first token that is not in the vocabulary.
    """
    tokens = " ".join(given).split()
    if not tokens:
        raise UserError("--sequence is empty: give at least one token")
    ids = vocabulary.encode(tokens)
    for token, number in zip(tokens, ids, strict=True):
        if number == UNK:
            own = vocabulary.tokens[UNK + 1 :]
            allowed = f"choose from {' '.join(own)}" if len(own) <= LISTED else f"it has {len(own):,} others"
            raise UserError(f"--sequence: {where} has no token {token!r}: {allowed}")
    return EncodedText(ids, tokens, [])


def slug(sequence: EncodedText) -> str:
    """Return the file-name part of an input: its tokens, with a digest if they do not fit a name."""
    plain = "-".join(sequence.tokens)
    name = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    if name == plain and len(name) <= SLUG and "-" not in "".join(sequence.tokens):
        return name
    content = json.dumps([sequence.tokens, sequence.ids.tolist()])
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return "-".join(part for part in (name[:SLUG].strip("-"), digest) if part)


def gradient_picture(picture: Path) -> Path:
    """Return the path of the plot of dc_t/dc_{t-1} next to the picture of the gates."""
    return picture.with_name(f"{picture.stem}-gradient.png")


def _picture(out: str | None, run: Path, sequence: EncodedText, place: Place, gradient: bool) -> Path:
    """Return the path of the picture. Raises UserError if a file given by `--out` exists."""
    if out is None:
        return run / f"gates-{slug(sequence)}-l{place.layer}-{DIRECTIONS[int(place.reverse)]}.png"
    path = Path(out)
    if path.suffix.lower() != ".png":
        raise UserError(f"--out {path}: expected a name that ends in .png")
    for file in (path, path.with_suffix(".json"), *([gradient_picture(path)] if gradient else [])):
        if file.exists():
            raise UserError(f"{file}: exists; choose another name with --out")
    return path


def _units(model: Model) -> int:
    return of_kind(model.encoder, RecurrentEncoder).hidden_size


def _describe(sequence: EncodedText, text: Text) -> str:
    number = len(sequence.tokens)
    line = f"{number} token{'s' * (number != 1)}"
    if sequence.cut:
        line += f", {sequence.cut} more truncated (text.max_length {text.max_length}, {text.truncate})"
    if sequence.unknown:
        names = ", ".join(dict.fromkeys(sequence.unknown))
        line += f"; {len(sequence.unknown)} out of vocabulary, read as UNK: {names}"
    return line


def _parser() -> Parser:
    parser = Parser(
        prog=program_command(PROGRAM),
        description="Plot every gate and state of a trained LSTM or GRU over the tokens of one input, and save the"
        " values as JSON next to the picture.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("--sequence", metavar="TOKEN", nargs="+", help="tokens of the run's vocabulary")
    parser.add_argument("--text", metavar="TEXT", help="text to tokenize as in training")
    parser.add_argument("--layer", metavar="K", type=int, default=0, help="recurrent layer, 0 is the lowest [0]")
    parser.add_argument("--direction", metavar="D", default="forward", help="forward or reverse [forward]")
    parser.add_argument("--gradient", action="store_true", help="also plot dc_t/dc_(t-1) term by term (LSTM)")
    parser.add_argument("--out", metavar="FILE", help="picture to write, .png [RUN/gates-TOKENS-lK-DIRECTION.png]")
    return parser


if __name__ == "__main__":
    launch(main)
