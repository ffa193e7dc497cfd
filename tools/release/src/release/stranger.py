"""Imports a package in a clean environment, using only the standard library.

Every module that needs no extra is imported; then the distributions that were loaded are compared with those that the
package declares, and those that these declare.
"""

import importlib
import pkgutil
import re
import sys
from importlib import metadata


def import_all(module: str) -> set[str]:
    """Imports a package and its modules, integrations left out; returns the top-level modules this loaded."""
    before = set(sys.modules)
    package = importlib.import_module(module)
    for found in pkgutil.walk_packages(package.__path__, module + "."):
        if ".integrations" not in found.name and not found.name.endswith(".__main__"):
            importlib.import_module(found.name)
    return {name.partition(".")[0] for name in set(sys.modules) - before}


def declared(dist: str) -> set[str]:
    """Returns a distribution, what it declares, and what that declares in turn; extras are left out."""
    found: set[str] = set()
    waiting = [dist]
    while waiting:
        name = plain(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines if "extra ==" not in line]
    return found


def plain(name: str) -> str:
    """Writes a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main(dist: str, module: str) -> int:
    """Prints what was loaded; returns 1 where something was that is not declared."""
    owners = metadata.packages_distributions()
    loaded = {plain(owner) for top in import_all(module) for owner in owners.get(top, [])}
    undeclared = sorted(loaded - declared(dist))
    print(f"{module} and its modules load {', '.join(sorted(loaded)) or 'nothing'}; undeclared: {undeclared}")
    return 1 if undeclared else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
