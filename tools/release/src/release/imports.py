"""Import boundaries: the allowed imports, checked on the syntax tree of each file.

packages/*/src         torch, the standard library, itself, what it declares; extras inside integrations/,
                       or at the moment of use; trainers inside integrations/ alone
packages/*/tests       that, its extras, the test kit
packages/*/examples    its public names, torch, published libraries
tools/testkit          torch, pytest, the standard library
tools/bench, docs      the packages' public names, torch, published libraries
tools/release          what it declares
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from release.workspace import Member, Workspace

TRAINERS = {"accelerate", "lightning", "pytorch_lightning", "transformers"}
# torch brings it on the platforms that have it.
WITH_TORCH = {"torch", "triton"}
TESTING = {"hypothesis", "pytest"}


@dataclass(frozen=True)
class Import:
    """One import: ``a.b.c`` for ``from a.b import c`` too; ``lazy`` where it does not run with its module."""

    name: str
    line: int
    lazy: bool
    for_types: bool = False  # under TYPE_CHECKING, so that it never runs

    @property
    def top(self) -> str:
        """The module that a distribution brings."""
        return self.name.partition(".")[0]


def faults(workspace: Workspace, path: str) -> list[str]:
    """Judges one file, given relative to the root; each fault starts with path and line."""
    try:
        tree = ast.parse((workspace.root / path).read_text(encoding="utf-8"), path)
    except SyntaxError as error:
        return [f"{path}:{error.lineno}: does not parse: {error.msg}"]
    owner = next((member for member in workspace.members.values() if path.startswith(f"{member.path}/")), None)
    wrong: list[str] = []
    for found in _imports(tree, lazy=False):
        if found.top not in sys.stdlib_module_names:
            reason = _reason(workspace, owner, path, found)
            wrong += [f"{path}:{found.line}: {found.name}: {reason}"] if reason else []
    return wrong


def circles(member: Member, *, types: bool = True) -> list[str]:
    """Lists import circles among a member's modules; imports inside functions count too.

    ``from package import name`` points at the module ``name`` if there is one, else at the package's ``__init__.py``.

    Args:
        member: where to look.
        types: whether imports for types alone, under ``TYPE_CHECKING``, count.
    """
    modules = {_dotted(member, path): path for path in sorted(member.source.rglob("*.py"))}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        counted = [found for found in _imports(tree, lazy=False, package=package) if types or not found.for_types]
        targets = {_target(found.name, modules) for found in counted}
        graph[name] = {target for target in targets if target not in (None, name)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"{member.path}: modules must not import each other in a circle: {' ← '.join(error.args[1])}"]
    return []


def used_extras(member: Member) -> list[str]:
    """Lists the extras that the package's own modules import: who imports these modules has them installed."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(member.source.rglob("*.py"))]
    tops = {found.top for text in texts for found in _imports(ast.parse(text), lazy=False)}
    return [name for name, lines in member.extras.items() if tops & {_module(line.name) for line in lines}]


def _dotted(member: Member, path: Path) -> str:
    parts = path.relative_to(member.source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _target(name: str, modules: dict[str, Path]) -> str | None:
    """Returns the module that an imported name lies in; the longest match wins."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def _imports(node: ast.AST, *, lazy: bool, for_types: bool = False, package: str = "") -> Iterator[Import]:
    """Yields the imports below ``node``; relative ones only where ``package``, which they start from, is given."""
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, lazy, for_types) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and (node.level == 0 or package):
        origin = _origin(node, package)
        yield from (Import(f"{origin}.{alias.name}", node.lineno, lazy, for_types) for alias in node.names)
    for_types = for_types or _for_types(node)
    inside = lazy or for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, lazy=inside, for_types=for_types, package=package)


def _origin(node: ast.ImportFrom, package: str) -> str:
    """Returns the module that names come from; each dot after the first goes up one package."""
    if node.level == 0:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _reason(workspace: Workspace, owner: Member | None, path: str, found: Import) -> str | None:
    """Says why an import is refused; None where it is allowed."""
    ours = {member.module: member for member in workspace.members.values()}
    if owner is not None and found.top == owner.module:
        return None
    if owner is not None and owner.published and not path.startswith(f"{owner.path}/examples/"):
        in_tests = path.startswith(f"{owner.path}/tests/")
        if found.top in ours:
            return None if in_tests and found.top == "testkit" else "packages never import each other, nor the tools"
        return _test_reason(owner, path, found) if in_tests else _source_reason(owner, path, found)
    if found.top in ours:
        return _user_reason(owner, ours[found.top], found)
    if owner is None or owner.name != "testkit" or _is_helper(owner, path, found.top):
        return None
    if found.top not in WITH_TORCH | TESTING:
        return "the test kit imports torch, pytest and the standard library"
    return None


def _source_reason(owner: Member, path: str, found: Import) -> str | None:
    extras = {_module(line.name) for lines in owner.extras.values() for line in lines}
    if found.top in WITH_TORCH | {_module(line.name) for line in owner.requires}:
        return None
    if found.top not in extras:
        return "a package imports torch, the standard library, itself and what it declares"
    if "integrations" in path.split("/"):
        return None
    if found.top in TRAINERS:
        return "a trainer is imported inside integrations/ alone"
    return None if found.lazy else "an extra is imported inside integrations/, or inside the function that needs it"


def _test_reason(owner: Member, path: str, found: Import) -> str | None:
    declared = {_module(line.name) for lines in [owner.requires, *owner.extras.values()] for line in lines}
    if found.top in declared | WITH_TORCH | TESTING or _is_helper(owner, path, found.top):
        return None
    return "a package's tests import it, the test kit, pytest, torch and its extras"


def _is_helper(owner: Member, path: str, top: str) -> bool:
    """Returns whether a test imports a file or folder of its own member's tests."""
    tests = owner.folder / "tests"
    inside = path.startswith(f"{owner.path}/tests/")
    return inside and any(found.stem == top for found in tests.rglob(f"{top}*") if found.suffix in ("", ".py"))


def _user_reason(owner: Member | None, used: Member, found: Import) -> str | None:
    if owner is not None and owner.name in ("testkit", "release"):
        return f"{owner.name} knows no other member"
    if not used.published:
        return None if owner is None else "bench and examples use the packages, not the tools"
    private = any(part.startswith("_") and not part.endswith("__") for part in found.name.split("."))
    return "only public names are used outside a package" if private else None


def _module(dist: str) -> str:
    return dist.lower().replace("-", "_")
