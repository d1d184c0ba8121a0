"""Planted faults are found in the right place with the right cause, and correct pairs raise no alarm."""

import os

import pytest

from tests.conftest import SEED_VARIABLE
from tests.twin.cases import ALL_CORRECT, FAULTS, Case

pytest.importorskip("torch")
pytest.importorskip("paddle")

from tests.twin.judging import compare_case, found_in, wrong

SAMPLE = 4
"""One case of this many is among the fast tests."""


def sampled(cases: tuple[Case, ...]) -> list:
    """Return the cases as parameters; all but a sample are slow, as they take 12 to 45 s together."""
    return [
        pytest.param(case, id=case.name, marks=[] if at % SAMPLE == 0 else [pytest.mark.slow])
        for at, case in enumerate(cases)
    ]


@pytest.fixture
def seed() -> int:
    """Return another seed in every run, so that no case leans on lucky values."""
    own = int(os.environ.get(SEED_VARIABLE) or int.from_bytes(os.urandom(3), "little"))
    print(f"to repeat: {SEED_VARIABLE}={own}")
    return own


@pytest.mark.parametrize("case", sampled(FAULTS))
def test_a_planted_fault_is_found(case: Case, seed: int):
    verdict = compare_case(case, seed)
    assert not wrong(case, verdict), f"expected {case}, got {found_in(verdict)}"


@pytest.mark.parametrize("case", sampled(ALL_CORRECT))
def test_a_correct_pair_raises_no_alarm(case: Case, seed: int):
    verdict = compare_case(case, seed)
    assert not wrong(case, verdict), f"{found_in(verdict)}, warnings: {verdict.warnings}"


def test_every_case_has_a_name_of_its_own():
    for cases in (FAULTS, ALL_CORRECT):
        names = [case.name for case in cases]
        assert len(set(names)) == len(names)
