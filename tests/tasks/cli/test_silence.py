"""Consoles that print nothing while a block runs, in its thread alone, and pictures that are not drawn there."""

from __future__ import annotations

import io
import threading

import pytest

from backends.numpy_threads import _functions, kept_threads, threads
from tasks.cli.terminal import Terminal, errors, is_of_kernel, silent
from tasks.run.present.pictures import draw_or_note, pictures


def in_a_thread(call) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_a_silent_block_prints_nothing_and_other_threads_do():
    file = io.StringIO()
    own = Terminal(file=file)
    with silent():
        own.print("first")
        with silent():
            own.print("second")
        own.print("third")
        assert own.quiet and errors.quiet
        in_a_thread(lambda: own.print("of another thread"))
    own.print("last")
    assert file.getvalue().split("\n") == ["of another thread", "last", ""] and not errors.quiet
    own.quiet = True
    own.print("set quiet")
    assert "set quiet" not in file.getvalue()


def test_the_output_of_a_notebook_is_no_terminal(monkeypatch):
    """Its kernel sets FORCE_COLOR, which makes any stream a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")

    class Cell(io.StringIO):
        pass

    Cell.__module__ = "ipykernel.iostream"
    assert Terminal(file=io.StringIO()).is_terminal
    assert is_of_kernel(Cell()) and not Terminal(file=Cell()).is_terminal
    own = Terminal(file=Cell())
    own.print("[red]error[/]")
    assert own.file.getvalue() == "error\n"  # type: ignore[attr-defined]


def test_pictures_are_drawn_unless_they_are_not_wanted():
    drawn = []
    with pictures(False):
        draw_or_note("a.png", lambda: drawn.append("a"))
        in_a_thread(lambda: draw_or_note("b.png", lambda: drawn.append("b")))
        with pictures(True):
            draw_or_note("c.png", lambda: drawn.append("c"))
    draw_or_note("d.png", lambda: drawn.append("d"))
    assert drawn == ["b", "c", "d"]


def test_overlapping_blocks_restore_the_first_number_of_threads():
    before = threads()
    if not before:
        pytest.skip("NumPy has no OpenBLAS")

    def use(number: int) -> None:
        for function in _functions("set_num_threads"):
            function(number)

    entered, left = threading.Event(), threading.Event()

    def other() -> None:
        with kept_threads():
            use(1)
            entered.set()
            left.wait()

    thread = threading.Thread(target=other)
    try:
        use(2)
        wanted = threads()
        with kept_threads():
            use(1)
            thread.start()
            entered.wait()
        assert threads() == [1] * len(before)  # the other block needs it
        left.set()
        thread.join()
        assert threads() == wanted
    finally:
        left.set()
        for function, number in zip(_functions("set_num_threads"), before, strict=True):
            function(number)
