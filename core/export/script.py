"""Write predict.py, which predicts with an exported model without seqtwin."""

from __future__ import annotations

from typing import Any, NamedTuple

from core.data.ngrams.linear import NgramModel
from core.data.tokenizer_rules import breaks_of_sentences, form_rules, kept_ends, tokenizer_rules
from core.export.ngram_tables import strings_of
from core.models.exported import input_names
from core.models.heads import TokenHead
from core.models.heads.spans import scheme_of
from core.models.model import Model
from core.spec.text import Text

TEMPLATE = "predict.py.jinja"


class Runtime(NamedTuple):
    """The lines of predict.py that depend on the format of the model."""

    imports: str
    load: str
    run: tuple[str, ...]
    """The last lines of a function that returns the outputs for `feeds`, arrays by the name of the input."""


ONNX = Runtime(
    "import onnxruntime",
    'SESSION = onnxruntime.InferenceSession(str(HERE / "model.onnx"), providers=["CPUExecutionProvider"])',
    ("return SESSION.run(None, feeds)",),
)
TORCHSCRIPT = Runtime(
    "import torch",
    'MODEL = torch.jit.load(str(HERE / "model.pt")).eval()',
    (
        "with torch.no_grad():",
        '    return [output.numpy() for output in MODEL(*(torch.from_numpy(feeds[name]) for name in CARD["inputs"]))]',
    ),
)
PADDLE = Runtime(
    "from paddle import inference",
    'CONFIG = inference.Config(*(str(HERE / name) for name in CARD["model_files"]))\n'
    "CONFIG.disable_mkldnn()  # oneDNN of Paddle 3.3 loses factors of integer sums\n"
    "CONFIG.disable_glog_info()\n"
    "PREDICTOR = inference.create_predictor(CONFIG)",
    (
        "for name, array in feeds.items():",
        "    PREDICTOR.get_input_handle(name).copy_from_cpu(array)",
        "PREDICTOR.run()",
        "return [PREDICTOR.get_output_handle(name).copy_to_cpu() for name in PREDICTOR.get_output_names()]",
    ),
)

STEPS = {
    "translate": ('if name == "translate": text = text.translate(str.maketrans(value))',),
    "html": ('if name == "html": text = html.unescape(text)',),
    "blank": ('if name == "blank": text = re.sub(value, " ", text)',),
    "lower": ('if name == "lower": text = text.lower()',),
    "nfc": ('if name == "nfc": text = unicodedata.normalize("NFC", text)',),
    "split": ('if name == "split": return text.split()',),
    "letters": ('if name == "letters": return list(value.join(text.split()))',),
    "jieba": (
        'if name == "jieba":',
        "    return [token for segment in jieba.cut(text, HMM=value) for token in segment.split()]",
    ),
    "find_ascii": ('if name == "find_ascii" and text.isascii(): return re.findall(value, text)',),
    "find": ('if name == "find": return re.findall(value, text)',),
}
"""Lines of predict.py for each step of a tokenizer (`core/data/tokenizer_rules.py`)."""
MODULES = {"html": "html", "blank": "re", "find": "re", "nfc": "unicodedata", "jieba": "jieba"}
"""Modules that steps need."""


def script(model: Model, text: Text, classes: list[str], runtime: Runtime) -> str:
    """Return predict.py for a model; `classes` are the names of its classes or tags."""
    # Imported here, as programs that write no template import this module too.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("core.export", ""),
        autoescape=False,  # Python, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    head, tags = model.head, isinstance(model.head, TokenHead)
    scheme = scheme_of(classes) if tags else None
    needed = rules(model, text)
    used = {name for name, _ in (*needed["steps"], *needed.get("characters", ()))}
    modules = {"json", "sys", *(["unicodedata"] if tags else []), *(MODULES[name] for name in used if name in MODULES)}
    rendered = environment.get_template(TEMPLATE).render(
        purpose="Tag texts" if tags else "Classify texts",
        runtime=runtime,
        inputs=input_names(model),
        ngrams=model.ngrams is not None,
        jieba="jieba" in used,
        imports=", ".join(sorted(modules)),
        steps={name: lines for name, lines in STEPS.items() if name in used},
        tags=tags,
        crf=isinstance(head, TokenHead) and head.crf,
        whole_words=text.tokenizer == "whitespace",
        as_words=scheme is not None and scheme.words,
    )
    return rendered.rstrip("\n") + "\n"


def rules(model: Model, text: Text) -> dict[str, Any]:
    """Return tokenizer.json: the steps of the tokenizer, and how long texts are truncated or divided."""
    if isinstance(model.head, TokenHead):
        return {"steps": form_rules(text), "max_length": text.max_length, "breaks": breaks_of_sentences()}
    found: dict[str, Any] = {"steps": tokenizer_rules(text), "kept": kept_ends(text)}
    if model.ngrams is not None:
        # The units of n-grams of characters are parts of tokens (core/data/ngrams/texts.py).
        found["characters"] = tokenizer_rules(Text(tokenizer="characters", lowercase=False))
        found["orders"] = {"tokens": model.ngrams.orders, "characters": model.ngrams.characters}
    return found


def ngram_strings(model: NgramModel) -> list[tuple[str, int, list[str]]]:
    """Return ngrams.json: the kinds of n-grams, the number of the first one of each kind, and their strings."""
    tokens, characters = strings_of(model.tokens), strings_of(model.characters)
    kinds = [("tokens", 1, tokens), ("characters", 1 + len(tokens), characters)]
    tables = {"tokens": model.tokens, "characters": model.characters}
    return [kind for kind in kinds if tables[kind[0]] is not None]
