"""Stand-ins for objects in a pickle that are not weights: nothing of them is imported, created or run."""

from __future__ import annotations

from core.errors import UserError

_SUSPECT = """
os posix nt subprocess sys io _io importlib runpy pty shutil socket ctypes code codeop codecs webbrowser
commands types operator _operator pickle marshal signal multiprocessing threading asyncio timeit pdb inspect
"""
_REFUSED = frozenset(_SUSPECT.split())
"""Modules whose names are refused, not skipped: no honest checkpoint needs them, so the file is suspect."""
_BUILTINS = """
object complex slice range frozenset list dict int long float str unicode bool bytearray Ellipsis
NotImplemented
"""
_HARMLESS = frozenset(_BUILTINS.split())
"""The built-in names that are skipped; others, such as `eval` and `getattr`, are refused."""
_FUNCTIONS = """
load loads fromfile memmap save savez loadtxt genfromtxt hub jit compile
"""
_LOADERS = frozenset(_FUNCTIONS.split())
"""Functions of numpy and torch that read files or run code."""


class Opaque:
    """A class, function or object of a pickle, known by name only.

    Calling it, as a pickle does, returns another stand-in. `state` holds what the pickle would set on the object.
    """

    __slots__ = ("name", "state")

    def __init__(self, name: str, state: object = None) -> None:
        self.name, self.state = name, state

    def __call__(self, *arguments: object) -> Opaque:
        # copyreg._reconstructor(cls, base, state) and __newobj__(cls) build an object of their first argument
        first = arguments[0] if arguments else None
        return Opaque(first.name if self.name.startswith("copyreg.") and isinstance(first, Opaque) else self.name)

    def append(self, item: object) -> None:
        """Ignore an item of a list-like object."""

    def extend(self, items: object) -> None:
        """Ignore items of a list-like object."""

    @property
    def is_module(self) -> bool:
        """Return whether it is a whole module of torch, or a layer of Paddle."""
        return isinstance(self.state, dict) and bool({"_modules", "_sub_layers"} & self.state.keys())

    def __str__(self) -> str:
        return f"{self.name}, not loaded"


def stand_in(module: str, name: str) -> Opaque | None:
    """Return the stand-in of a name in a pickle, None for a name that is to be refused."""
    root = module.partition(".")[0]
    module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
    if root in _REFUSED or (module == "builtins" and name not in _HARMLESS):
        return None
    if root in ("numpy", "torch") and (name in _LOADERS or ".hub" in module):
        return None
    shown = f"{module}.{name}"
    return Opaque(shown if shown.isprintable() and len(shown) <= 100 else ascii(shown)[:100])


def whole_module(tree: object, where: str) -> UserError | None:
    """Return the error for a pickled module, at the top or one level below; None if there is none."""
    below = tree.values() if isinstance(tree, dict) else ()
    for found in (tree, *below):
        if isinstance(found, Opaque) and found.is_module:
            return UserError(
                f"{where}: a pickled module, {found.name}, which only its own code can load: save"
                f" model.state_dict() instead"
            )
    return None
