"""Pickles that carry lambdas and the contents of test modules to another process, which pickle alone does not."""

import importlib.util
import io
import marshal
import pickle
import sys
from functools import cache, reduce
from pathlib import Path
from types import CellType, FunctionType, ModuleType
from typing import Any


def dumps(value: Any) -> bytes:
    """Pickles a value; functions and classes go by name and file, lambdas and nested functions by their code."""
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any, /) -> Any:
        if not isinstance(value, FunctionType | type) or value.__module__ == "builtins":
            return NotImplemented
        module = sys.modules.get(value.__module__)
        file = getattr(module, "__file__", None)
        if file is None or ("<" not in value.__qualname__ and _importable(value.__module__, file)):
            return NotImplemented  # whoever imports the module by its name finds the same
        if "<" not in value.__qualname__:
            return _named, (value.__module__, file, value.__qualname__)
        if not isinstance(value, FunctionType):
            raise pickle.PicklingError(f"{value.__qualname__} cannot leave its process; define the class in its module")
        cells = tuple(cell.cell_contents for cell in value.__closure__ or ())
        code = marshal.dumps(value.__code__)
        return _rebuilt, (value.__module__, file, code, value.__defaults__, value.__kwdefaults__, cells)


def _named(module: str, file: str, qualname: str) -> Any:
    return reduce(getattr, qualname.split("."), _module(module, file))


def _rebuilt(module: str, file: str, code: bytes, defaults: Any, kwdefaults: Any, cells: tuple[Any, ...]) -> Any:
    names = vars(_module(module, file))
    function = FunctionType(marshal.loads(code), names, None, defaults, tuple(map(CellType, cells)))
    function.__kwdefaults__ = kwdefaults
    return function


def _module(name: str, file: str) -> ModuleType:
    """Returns the module of this name if ``file`` is its file, importing it if needed; else loads ``file`` anew."""
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == file:
        return loaded
    if loaded is None and _importable(name, file):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be loaded as {name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@cache
def _importable(name: str, file: str) -> bool:
    """Returns whether an import by name finds that file; pytest keeps modules under names that no import would find."""
    stems = [Path(entry).resolve().joinpath(*name.split(".")) for entry in sys.path]
    return any(file.startswith((f"{stem}.", f"{stem / '__init__'}.")) for stem in stems)
