"""A package index on the loopback address, for as long as a rehearsal lasts."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from release.exits import Exit, Refusal
from release.shell import Shell, program, tell

HOST = "127.0.0.1"
SECONDS_TO_START = 30


@contextmanager
def loopback(folder: Path, shell: Shell) -> Generator[str]:
    """Serve a folder that takes uploads; yield the address, stop the server at the end.

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
    raise Refusal(Exit.INDEX, f"the loopback index at {address} must answer within {SECONDS_TO_START} s, it did not")
