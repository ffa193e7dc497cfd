"""A user's Python file, run as ``python task.py`` would: its neighbours can be imported, its classes pickled.

An error of the user's code becomes one line with the place in the user's file.
"""

import ast
import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import cast

from bench.compare import OnlineTask, UserTask
from bench.workloads.data.splits import LeakError

Make = Callable[[int], UserTask | OnlineTask]
HOW = "`bench compare --new csv` writes a file to start from"


class TaskError(ValueError):
    """Something is wrong with the user's task; the message is one line."""


@dataclass(frozen=True)
class TaskFile:
    """The file, its function ``task``, and the names of the modules that were there before it."""

    path: Path
    make: Make
    before: frozenset[str]

    def modules(self) -> dict[str, Path]:
        """Returns the modules beside the file, or in packages beside it, that it has imported, and their files."""
        found: dict[str, Path] = {}
        for name, module in list(sys.modules.items()):
            file, top = getattr(module, "__file__", None), name.partition(".")[0]
            if name not in self.before and file and Path(file).is_relative_to(self.path.parent):
                first = Path(file).relative_to(self.path.parent).parts[0]
                if first in (top, f"{top}.py") or Path(file) == self.path:
                    found[name] = Path(file)
        return found

    def digest(self) -> str:
        """Returns the checksum of the file and its neighbours: with an edited one it is another task."""
        content = hashlib.sha256()
        for path in sorted({self.path, *self.modules().values()}):
            name = "" if path == self.path else path.relative_to(self.path.parent).as_posix()
            content.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
        return content.hexdigest()[:8]


def read_task(path: Path) -> TaskFile:
    """Runs a file and returns its function ``task``.

    Raises:
        TaskError: it is no Python file, raises an error, or has no function of one argument.
    """
    path = path.resolve()
    if path.is_dir() or path.suffix != ".py":
        raise TaskError(f"the task must be a Python file, got {'the folder ' if path.is_dir() else ''}{path.name}")
    _forget_others()
    _refuse_hidden(path)
    before = frozenset(sys.modules)
    sys.path.insert(0, str(path.parent))
    with blaming(path):
        module = module_from_spec(ModuleSpec(_module_name(path), None, origin=str(path)))
        module.__file__ = str(path)
        sys.modules[module.__name__] = module  # dataclasses and pickle look classes up there
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    make = getattr(module, "task", None)
    if not callable(make):
        raise TaskError(f"{path.name} must define a function task(seed) that returns a UserTask, found none; {HOW}")
    try:
        inspect.signature(make).bind(0)
    except TypeError:
        raise TaskError(
            f"task of {path.name} must take one argument, the seed: def task(seed); got task{inspect.signature(make)}"
        ) from None
    found = TaskFile(path, cast(Make, make), before)
    _read.append(found)
    return found


def _module_name(path: Path) -> str:
    """Returns the name by which another process can import the file, unless something else has that name."""
    name = path.stem
    taken = name in sys.modules or name in sys.stdlib_module_names or "." in name
    return "task_" + name.replace(".", "_") if taken else name


_read: list[TaskFile] = []


def _forget_others() -> None:
    """Forgets the modules of tasks read before, so that files of the same names are read anew."""
    for file in _read:
        for name in file.modules():
            del sys.modules[name]
        if str(file.path.parent) in sys.path:
            sys.path.remove(str(file.path.parent))
    _read.clear()


@contextmanager
def folders_hidden() -> Generator[None]:
    """Takes the folders of tasks from the path while a process starts: torch must not find its modules there."""
    kept = sys.path.copy()
    folders = {str(file.path.parent) for file in _read}
    sys.path[:] = [entry for entry in kept if entry not in folders]
    try:
        yield
    finally:
        sys.path[:] = kept


def _refuse_hidden(path: Path) -> None:
    """Refuses a file that imports a neighbour whose name another module has already taken.

    Raises:
        TaskError: it does.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # running it tells
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
        for name in (name.partition(".")[0] for name in names):
            beside = path.with_name(f"{name}.py")
            taken = getattr(sys.modules.get(name), "__file__", None)
            if beside != path and beside.is_file() and taken and Path(taken) != beside:
                raise TaskError(
                    f"{path.name} imports {name}, and {beside.name} beside it must not have the name of a module that "
                    f"bench uses ({taken}); rename {beside.name}"
                )


@contextmanager
def blaming(path: Path) -> Generator[None]:
    """Turns any error of the body, which runs the user's code, into one line.

    Raises:
        TaskError: there was one.
    """
    try:
        yield
    except (TaskError, LeakError, BrokenPipeError):
        raise
    except (Exception, SystemExit) as error:
        raise TaskError(line_of(error, path)) from error


def line_of(error: BaseException, path: Path) -> str:
    """Returns where in the user's files an error arose, and what it says."""
    if isinstance(error, SyntaxError) and error.filename:
        text = f": {error.text.strip()}" if error.text else ""
        return f"{Path(error.filename).name}, line {error.lineno}: {error.msg}{text}"
    places = [
        f"{Path(frame.filename).name}, line {frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(path.parent) and "site-packages" not in frame.filename
    ]
    said = " ".join(str(error).split())
    return f"{places[-1] if places else path.name}: {type(error).__name__}{': ' + said if said else ''}"
