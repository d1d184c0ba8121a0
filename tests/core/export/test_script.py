"""predict.py tokenizes as the project does, and stays short."""

from __future__ import annotations

import ast
import json

import numpy as np
import pytest

from core.data.tokenizer_rules import kept_ends
from core.data.tokenizers import make_tokenizer
from core.data.vocabulary import truncate
from core.export.script import ONNX, rules, script
from core.models.model import Model
from core.spec.text import Text
from tests.core.data.test_tokenizers import SIGNS

TEXTS = [
    *(string for string, _ in SIGNS.values()),
    "Don\u2019t <br />miss IT &amp; it\u00e9 cafe\u0301 film's &quot;70s&quot;<BR/>end",
    "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0cABC\uff11\uff12 \u3053\u3093\u306b\u3061\u306f <br> x",
    "\u0391\u03a3<br>\u0391\u03a3\u0391 \u0130stanbul \u00df \ufb01n",
    "a\u00a0b\u2028c\x85d\te\x1cf",
    "",
    " \n",
]
SPECS = {
    "words": Text(tokenizer="words"),
    "words, no signs": Text(tokenizer="words", signs=False, lowercase=False),
    "words, half width": Text(tokenizer="words", half_width=True),
    "whitespace": Text(tokenizer="whitespace"),
    "characters": Text(tokenizer="characters", half_width=True),
    "letters": Text(tokenizer="letters", lowercase=False),
    "jieba": Text(tokenizer="jieba", jieba_hmm=False),
    "jieba, hmm": Text(tokenizer="jieba"),
}
POOLED = Model.model_validate({"head": {"pooling": "max"}})


def function_of(code: str, name: str):
    """Return a function of predict.py without running the rest, which loads a model."""
    tree = ast.parse(code)
    kept = [line for line in tree.body if isinstance(line, (ast.Import, ast.FunctionDef))]
    plain = [line for line in kept if "onnxruntime" not in ast.unparse(line)]
    space: dict = {}
    exec(compile(ast.Module(plain, []), "predict.py", "exec"), space)
    return space[name]


@pytest.mark.parametrize("name", SPECS)
def test_tokens_are_equal(name, rng):
    spec = SPECS[name]
    if spec.tokenizer == "jieba":
        pytest.importorskip("jieba")
    tokenize, own = function_of(script(POOLED, spec, ["a", "b"], ONNX), "tokenize"), make_tokenizer(spec)
    steps = json.loads(json.dumps(rules(POOLED, spec)))["steps"]
    letters = np.array(sorted({letter for text in TEXTS for letter in text}))
    drawn = ["".join(rng.choice(letters, size)) for size in rng.integers(1, 60, 50)]
    for text in [*TEXTS, *drawn]:
        assert tokenize(text, steps) == own(text), repr(text)


@pytest.mark.parametrize("way", ["head", "tail", "both"])
def test_kept_ends_are_those_of_truncate(way, rng):
    for size in (1, 7, 8, 9, 30):
        spec = Text(max_length=int(rng.integers(1, 9)), truncate=way, head_share=float(rng.uniform(0.05, 0.95)))
        head, tail = kept_ends(spec)
        kept = range(size) if size <= head + tail else [*range(head), *range(size - tail, size)]
        assert list(kept) == truncate(np.arange(size), spec).tolist()


@pytest.mark.parametrize("tokenizer", ["words", "jieba"])
@pytest.mark.parametrize("ngrams", [None, {"characters": 2}])
def test_the_script_of_a_classifier_is_short(ngrams, tokenizer):
    """Fewer than 60 lines, and nothing but onnxruntime, NumPy, the standard library, and jieba if it segments."""
    model = Model.model_validate({"head": {"pooling": "max"}, "ngrams": ngrams})
    code = script(model, Text(tokenizer=tokenizer), ["a", "b"], ONNX)
    assert len(code.splitlines()) < 60 and all(len(line) <= 122 for line in code.splitlines())
    names = {alias.name for line in ast.walk(ast.parse(code)) if isinstance(line, ast.Import) for alias in line.names}
    assert names <= {"html", "json", "re", "sys", "unicodedata", "numpy", "onnxruntime", "jieba"}
    assert ("jieba" in names) == (tokenizer == "jieba")
