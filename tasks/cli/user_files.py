"""Python files that the user wrote, as `FILE:NAME` on the command line: they are run, as asked."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from core.errors import UserError

MODULE = "seqtwin_user_model"
"""Name under which a user's file is imported, with a number from the second file on."""


class UserFiles:
    """The files of one program: each of them runs once."""

    def __init__(self) -> None:
        self._paths: set[Path] = set()
        self._modules: dict[Path, ModuleType] = {}
        self._neighbors: dict[str, Path] = {}
        """Folder of every module that a file imported from its own folder."""

    def load(self, path: Path) -> ModuleType:
        """Run a Python file and return its module; exceptions of its code pass through.

        Its folder is searched for the modules that it imports. A module of the same name in the folder of an earlier
        file does not take their place. Raises UserError if it is no Python file.
        """
        whole = path.resolve()
        if whole in self._modules:
            return self._modules[whole]
        self._paths.add(whole)
        name = f"{MODULE}_{len(self._modules) + 1}" if self._modules else MODULE
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UserError(f"{path}: expected a Python file (.py)")
        self._forget_namesakes(whole.parent)
        before = set(sys.modules)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # for dataclasses and pickles of the file
        sys.path.insert(0, str(whole.parent))  # for imports of neighboring files
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(whole.parent))
        for new in set(sys.modules) - before - {name}:
            file = getattr(sys.modules[new], "__file__", None)
            if file is not None and "site-packages" not in file and Path(file).is_relative_to(whole.parent):
                self._neighbors[new] = whole.parent
        self._modules[whole] = module
        return module

    def load_module(self, name: str, path: Path) -> ModuleType:
        """Import a module by its name; exceptions of its code pass through. `path` is its file."""
        self._paths.add(path.resolve())
        return importlib.import_module(name)

    def trace(self, error: BaseException) -> str:
        """Return the traceback of an exception from the first line of these files on, "" if none is in it."""
        if isinstance(error, SyntaxError) and self._owns(error.filename or ""):
            return "".join(traceback.format_exception(type(error), error, None))
        place = error.__traceback__
        while place is not None and not self._owns(place.tb_frame.f_code.co_filename):
            place = place.tb_next
        return "".join(traceback.format_exception(type(error), error, place)) if place is not None else ""

    def _owns(self, path: str) -> bool:
        return Path(path).resolve() in self._paths

    def _forget_namesakes(self, folder: Path) -> None:
        for name, earlier in list(self._neighbors.items()):
            top = folder / name.partition(".")[0]
            has_own = top.with_suffix(".py").is_file() or (top / "__init__.py").is_file()
            if earlier != folder and has_own:
                sys.modules.pop(name, None)
