"""A release from upload to install, against an index on this machine."""

import tempfile
from pathlib import Path

from release import building, environments, publishing
from release.building import Built
from release.exits import Exit, Refusal
from release.index import loopback
from release.shell import Shell, tell
from release.workspace import Member, Workspace


def rehearse(workspace: Workspace, member: Member, shell: Shell, versions: list[str]) -> None:
    """Upload, be refused a second time, resume, install by name on each Python, run the sdist's tests.

    Raises:
        Refusal: the index took what it should refuse, or a later step fails.
    """
    for version in versions:
        environments.interpreter(version)
    with tempfile.TemporaryDirectory(prefix="release-rehearse-") as name:
        scratch = Path(name)
        files = building.build(workspace, member, shell, scratch / "dist")
        (scratch / "index").mkdir()
        with loopback(scratch / "index", shell) as address:
            upload(files, address, shell)
            for version in versions:
                _install_and_test(workspace, member, shell, scratch / f"py{version}", version, address, files)
                tell(f"{member.name} {member.version} installs by name and passes its tests on Python {version}")


def upload(files: Built | None, address: str, shell: Shell) -> None:
    """Upload the wheel, be refused a second time, resume with the sdist.

    Raises:
        Refusal: the index took the second upload, or refused another.
    """
    paths = [*files] if files else [Path("*.whl"), Path("*.tar.gz")]
    upload = [*publishing.command(address, check=False), "--username", "u", "--password", "p"]
    shell.run(*upload, "--dry-run", *paths, code=Exit.INDEX)
    wheel = paths[0]
    shell.run(*upload, wheel, code=Exit.INDEX, why="the index must take a first upload")
    if shell.run_status(*upload, wheel) == 0 and not shell.dry_run:
        raise Refusal(Exit.INDEX, "the index must refuse a second upload of the same version, it took it")
    tell("a second upload is refused")
    resume = [*publishing.command(address, check=True), "--username", "u", "--password", "p"]
    shell.run(*resume, *paths, code=Exit.INDEX, why="a half-done upload must resume")
    tell("a half-done upload resumes: what is there is skipped, what is missing is sent")


def _install_and_test(
    workspace: Workspace,
    member: Member,
    shell: Shell,
    folder: Path,
    version: str,
    address: str,
    files: Built | None,
) -> None:
    env = environments.create(folder, version, shell, building.uv_settings(workspace))
    # The loopback index knows no upload times, and a date pin hides files without one.
    by_name = ["--index", f"{address}simple/", "--exclude-newer-package", f"{member.name}=false", "--refresh-package"]
    env.install(*by_name, member.name, f"{member.name}[dev]=={member.version}", code=Exit.INDEX)
    env.check()
    env.test(files.sdist if files else None, member.name)
