"""The lowest versions a package declares, installed and tested."""

import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from release import building, environments
from release.exits import Exit, Refusal
from release.shell import Shell, tell
from release.workspace import Member, Workspace


def lowest(member: Member, python: str) -> dict[str, Version]:
    """Return the lowest version of each dependency that the package declares for one Python.

    Raises:
        Refusal: a dependency has no lower bound.
    """
    found: dict[str, Version] = {}
    for line in member.requires:
        if line.marker is None or line.marker.evaluate(
            {"python_version": python, "python_full_version": f"{python}.0"}
        ):
            found[line.name] = _bound(line)
    return found


def try_floors(workspace: Workspace, member: Member, shell: Shell, python: str) -> None:
    """Install the lowest declared versions, print and compare them, run the sdist's tests.

    Raises:
        Refusal: what was installed is higher than declared, or a test fails.
    """
    wanted = lowest(member, python)
    with tempfile.TemporaryDirectory(prefix="release-floors-") as name:
        scratch = Path(name)
        files = building.build(workspace, member, shell, scratch / "dist")
        env = environments.create(scratch / "floors", python, shell, building.uv_settings(workspace))
        wheel = f"{files.wheel if files else member.name}[dev]"
        # Only what is named here counts as direct, so the wheel's own lines are repeated.
        env.install("--resolution", "lowest-direct", wheel, *map(str, member.requires))
        if not shell.dry_run:
            compare(member, python, wanted, {name: Version(text) for name, text in env.versions().items()})
        env.test(files.sdist if files else None, member.name)
    tell(f"{member.name} passes its tests at its floors on Python {python}")


def compare(member: Member, python: str, wanted: dict[str, Version], got: dict[str, Version]) -> None:
    """Print what came beside what is declared.

    Raises:
        Refusal: something higher than the lowest came.
    """
    for name, floor in wanted.items():
        print(f"{member.name} on Python {python}: {name} {got[name]}, declared >={floor}")
    higher = [name for name, floor in wanted.items() if Version(got[name].base_version) != floor]
    if higher:
        raise Refusal(Exit.FLOORS, f"the lowest {', '.join(higher)} must be installed; what came is printed above")


def _bound(line: Requirement) -> Version:
    bounds = [Version(part.version) for part in line.specifier if part.operator in (">=", "==", "~=")]
    if not bounds:
        raise Refusal(Exit.FLOORS, f"{line} must have a lower bound")
    return max(bounds)
