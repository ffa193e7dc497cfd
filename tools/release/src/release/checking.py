"""Is what was built fit for strangers? Metadata, contents, a clean environment, the sdist's tests, types."""

import tempfile
from pathlib import Path

from release import building, environments, imports, metadata, stranger
from release.building import Built
from release.exits import Exit, Refusal
from release.repository import Repository
from release.shell import Shell, program, tell, uv
from release.workspace import Member, Workspace


def check(workspace: Workspace, member: Member, shell: Shell, version: str) -> None:
    """Check a package from its built files, in an environment of one Python version.

    Raises:
        Refusal: with the code of the first thing that is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="release-check-") as name:
        scratch = Path(name)
        files = building.build(workspace, member, shell, scratch / "dist")
        _metadata(member, shell, files)
        _copied_out(workspace, member, shell, files, scratch)
        _declared(workspace, member, shell)
        clean = environments.create(scratch / "clean", version, shell, building.uv_settings(workspace))
        clean.install(files.wheel if files else f"{member.name}.whl")
        clean.check()
        why = f"{member.name} must import only what it declares; what it loaded besides is above"
        clean.isolated(stranger.__file__, member.name, member.module, code=Exit.DEPENDENCIES, why=why)
        clean.install(f"{files.wheel if files else member.name}[dev]")
        clean.test(files.sdist if files else None, member.name)
        extras = imports.used_extras(member)
        if extras:
            clean.install(f"{files.wheel if files else member.name}[{','.join(extras)}]")
        _types(member, shell, clean)
    tell(f"{member.name} {member.version} is fit to be published")


def _metadata(member: Member, shell: Shell, files: Built | None) -> None:
    paths = [*files] if files else [Path("*.whl"), Path("*.tar.gz")]
    shell.run(program("twine"), "--no-color", "check", "--strict", *paths, code=Exit.METADATA)
    shell.run(program("validate-pyproject"), member.folder / "pyproject.toml", code=Exit.METADATA)
    shell.run(program("check-wheel-contents"), "--package", member.source / member.module, paths[0], code=Exit.CONTENTS)
    wrong = metadata.faults(files.wheel, member) if files else []
    if wrong:
        raise Refusal(Exit.METADATA, "; ".join(wrong))
    tell("summary, keywords, classifiers, URLs, license, extras, README links: complete")


def _copied_out(workspace: Workspace, member: Member, shell: Shell, files: Built | None, scratch: Path) -> None:
    alone = scratch / "alone"
    tracked = Repository(shell).files(member.path)
    building.copy_tracked(workspace.root, tracked, alone)
    command: list[str | Path] = [
        uv(),
        "build",
        "--quiet",
        "--wheel",
        alone / member.path,
        "--out-dir",
        scratch / "alone-dist",
    ]
    shell.run(*command, cwd=scratch, env=building.uv_settings(workspace))
    if files and building.digest(scratch / "alone-dist" / files.wheel.name) != building.digest(files.wheel):
        raise Refusal(Exit.BUILDS_DIFFER, f"{files.wheel.name} differs when the folder is copied out of the repository")
    tell(f"{member.path} builds the same wheel when copied out of the repository")


def _declared(workspace: Workspace, member: Member, shell: Shell) -> None:
    paths = [path for path in Repository(shell).files(f"{member.path}/src") if path.endswith(".py")]
    wrong = [fault for path in paths for fault in imports.faults(workspace, path)]
    if wrong:
        raise Refusal(Exit.DEPENDENCIES, "; ".join(wrong))


def _types(member: Member, shell: Shell, clean: environments.Environment) -> None:
    command = [program("pyright"), "--verifytypes", member.module, "--ignoreexternal"]
    why = f"the public types of {member.module} must be 100 % complete; what is missing is above"
    shell.run(*command, cwd=clean.folder.parent, env=clean.activated, code=Exit.TYPES, why=why)
