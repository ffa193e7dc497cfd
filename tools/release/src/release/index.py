"""Upload and install: an index on the loopback address, a rehearsal against it, and the real upload from CI."""

import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from release import build, install
from release.build import Built
from release.shell import Refusal, Shell, program, tell, uv
from release.workspace import Member, Workspace

HOST = "127.0.0.1"
SECONDS_TO_START = 30


@contextmanager
def loopback(folder: Path, shell: Shell) -> Generator[str]:
    """Serves a folder that takes uploads; yields the address, and stops the server at the end.

    Raises:
        Refusal: it does not answer in time.
    """
    port = _free_port()
    command = [program("pypi-server"), "run", "-p", str(port), "-i", HOST, "-a", ".", "-P", ".", "--disable-fallback"]
    tell(f"$ {Path(command[0]).name} {' '.join(command[1:])} {folder} &")
    address = f"http://{HOST}:{port}/"
    if shell.dry_run:
        yield address
        return
    with (folder.parent / "index.log").open("w") as log:
        server = subprocess.Popen([*command, str(folder)], stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(address, server)
            yield address
        finally:
            server.terminate()
            server.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait(address: str, server: subprocess.Popen[bytes]) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end and server.poll() is None:
        try:
            direct.open(address + "simple/", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    raise Refusal(f"the loopback index at {address} must answer within {SECONDS_TO_START} s, it did not")


LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def publish(files: Built, address: str | None, shell: Shell) -> None:
    """Uploads a wheel and an sdist with uv; what the index has already is compared and skipped where it can be.

    Args:
        files: what ``release build`` left.
        address: where to upload; None for uv's default, the public index.
        shell: runs uv.

    Raises:
        Refusal: the index is a real one and this is not CI, or uv fails.
    """
    if not allowed(address):
        where = address or "the public index"
        raise Refusal(f"{where} is uploaded to from CI alone; push a tag, or rehearse on 127.0.0.1")
    trusted = ["--trusted-publishing", "always"] if address is None else []
    shell.run(*command(address, check=address is not None), *trusted, *files)


def allowed(address: str | None) -> bool:
    """Returns whether this may be uploaded to from here."""
    on_loopback = address is not None and urlsplit(address).hostname in LOOPBACK
    return on_loopback or os.environ.get("GITHUB_ACTIONS") == "true"


def command(address: str | None, *, check: bool) -> list[str]:
    """Returns the uv command for an upload; with ``check`` it first looks at what the index has."""
    words = [uv(), "publish", "--no-attestations"] if address else [uv(), "publish"]
    if address:
        words += ["--publish-url", address]
    if address and check:
        words += ["--check-url", f"{address}simple/"]
    return words


def rehearse(workspace: Workspace, member: Member, shell: Shell, versions: list[str]) -> None:
    """Uploads, is refused a second time, resumes, installs by name on each Python, runs the sdist's tests.

    Raises:
        Refusal: the index took what it should refuse, or a later step fails.
    """
    for version in versions:
        install.interpreter(version)
    with tempfile.TemporaryDirectory(prefix="release-rehearse-") as name:
        scratch = Path(name)
        files = build.build(workspace, member, shell, scratch / "dist")
        (scratch / "index").mkdir()
        with loopback(scratch / "index", shell) as address:
            upload(files, address, shell)
            for version in versions:
                _install_and_test(workspace, member, shell, scratch / f"py{version}", version, address, files)
                tell(f"{member.name} {member.version} installs by name and passes its tests on Python {version}")


def upload(files: Built | None, address: str, shell: Shell) -> None:
    """Uploads the wheel, is refused a second time, and resumes with the sdist.

    Raises:
        Refusal: the index took the second upload, or refused another.
    """
    paths = [*files] if files else [Path("*.whl"), Path("*.tar.gz")]
    upload = [*command(address, check=False), "--username", "u", "--password", "p"]
    shell.run(*upload, "--dry-run", *paths)
    wheel = paths[0]
    shell.run(*upload, wheel, why="the index must take a first upload")
    if shell.run_status(*upload, wheel) == 0 and not shell.dry_run:
        raise Refusal("the index must refuse a second upload of the same version, it took it")
    tell("a second upload is refused")
    resume = [*command(address, check=True), "--username", "u", "--password", "p"]
    shell.run(*resume, *paths, why="a half-done upload must resume")
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
    env = install.create(folder, version, shell, build.uv_settings(workspace))
    # The loopback index knows no upload times, and a date pin hides files without one.
    by_name = ["--index", f"{address}simple/", "--exclude-newer-package", f"{member.name}=false", "--refresh-package"]
    env.install(*by_name, member.name, f"{member.name}[dev]=={member.version}")
    env.check()
    env.test(files.sdist if files else None, member.name)
