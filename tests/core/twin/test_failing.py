"""Exceptions of models, told in one line."""

from __future__ import annotations

import pytest

from core.errors import UserError
from core.twin.failing import in_one_line, marked, reason
from core.twin.verdict import Cause, Finding

TORCHSCRIPT = """The following operation failed in the TorchScript interpreter.
Traceback of TorchScript (most recent call last):
  File "mine.py", line 9, in forward
RuntimeError: mat1 and mat2 must have the same dtype
"""


def raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as found, marked("outer failed", "mend the outer"), marked("a: failed", "mend it"):
        raise error
    return found.value


def test_marked_exceptions_are_one_line():
    assert str(in_one_line(raised(KeyError("x\ny")))) == "a: failed: KeyError: 'x\\ny': mend it"
    assert str(in_one_line(raised(RuntimeError(TORCHSCRIPT)))) == (
        "a: failed: RuntimeError: mat1 and mat2 must have the same dtype: mend it"
    )


def test_other_exceptions_are_left_alone():
    assert in_one_line(ValueError("an error of this project")) is None
    assert in_one_line(raised(UserError("one line already"))) is None


def test_reason_is_short():
    assert reason(ValueError("")) == "ValueError"
    assert reason(ValueError("\n\n  first line.\nsecond")) == "ValueError: first line"
    assert len(reason(ValueError("x" * 5000))) == 300


@pytest.mark.parametrize(
    ("sentence", "cause", "why"),
    [
        ("`norm`: inputs agree, outputs differ by 1e-05", "`norm`: epsilon 1e-05", "epsilon 1e-05"),
        ("the values of 1 of 3 parameters differ, `a.weight` by 1", "`a.weight`: transposed", "transposed"),
        ("`norm`: outputs differ", "`other`: epsilon 1e-05", "`other`: epsilon 1e-05"),
        ("`norm`: outputs differ", "detached between `norm` and `out`: see", "detached between `norm` and `out`: see"),
    ],
)
def test_why_does_not_repeat_names(sentence, cause, why):
    assert Finding(1, "evaluation", 1.0, 1e-9, False, 3, sentence, Cause(cause)).why == why
    assert Finding(1, "evaluation", 1.0, 1e-9, False, 3, sentence).why == ""
