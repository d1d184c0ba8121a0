"""Print the table of all cases: what was planted, what was found, the cause, and the time.

python -m tests.twin.table [--seed N] [--only TEXT] [--wrong]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from core.files import write_text_atomic
from tests.twin.cases import ALL_CORRECT, FAULTS
from tests.twin.judging import compare_case, found_in, wrong


def main() -> None:
    """Compare the models of all cases and print a line for each."""
    parser = argparse.ArgumentParser(description="Compare the pairs of models with planted faults.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="part of the names of the cases")
    parser.add_argument("--wrong", action="store_true", help="print the wrong ones only")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    rows = []
    print("| case | expected | found | seconds | sentence |\n|---|---|---|---|---|")
    for case in (*FAULTS, *ALL_CORRECT):
        if options.only not in case.name:
            continue
        start = time.perf_counter()
        try:
            verdict = compare_case(case, options.seed)
        except Exception as error:
            # One model that cannot be run must not hide the other cases.
            rows.append({"case": case.name, "wrong": ["error"], "sentence": f"{type(error).__name__}: {error}"})
            print(f"| {case.name} | | **error** | | {type(error).__name__}: {str(error)[:300]} |")
            continue
        seconds = time.perf_counter() - start
        mistakes, found = wrong(case, verdict), found_in(verdict)
        expected = " ".join((str(case.rung), case.place, case.path, case.setting)) if case.place else "the same"
        got = " ".join((str(found.rung), found.place, "/".join(dict.fromkeys(found.paths)), found.setting))
        got = "the same" if verdict.same else got
        if mistakes or not options.wrong:
            mark = f" **{', '.join(mistakes)}**" if mistakes else ""
            print(f"| {case.name} | {expected} | {got}{mark} | {seconds:.2f} | {found.sentence} |", flush=True)
        row = {"case": case.name, "expected": expected, "found": got, "wrong": mistakes, "seconds": seconds}
        rows.append({**row, "sentence": found.sentence})
    right = sum(not row["wrong"] for row in rows)
    print(f"\n{right} of {len(rows)} as expected, seed {options.seed}")
    if options.json:
        write_text_atomic(options.json, json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
