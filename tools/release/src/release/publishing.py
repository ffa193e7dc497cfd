"""Upload to an index: to one on this machine from anywhere, to a real one from CI alone."""

import os
from urllib.parse import urlsplit

from release.building import Built
from release.exits import Exit, Refusal
from release.shell import Shell, uv

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def publish(files: Built, address: str | None, shell: Shell) -> None:
    """Upload a wheel and an sdist with uv; what the index has already is compared and skipped where it can be.

    Args:
        files: what ``release build`` left.
        address: where to upload; None for uv's default, the public index.
        shell: runs uv.

    Raises:
        Refusal: the index is a real one and this is not CI, or uv fails.
    """
    if not allowed(address):
        where = address or "the public index"
        raise Refusal(Exit.REAL_INDEX, f"{where} is uploaded to from CI alone; push a tag, or rehearse on 127.0.0.1")
    trusted = ["--trusted-publishing", "always"] if address is None else []
    shell.run(*command(address, check=address is not None), *trusted, *files, code=Exit.INDEX)


def allowed(address: str | None) -> bool:
    """Whether this may be uploaded to from here."""
    on_loopback = address is not None and urlsplit(address).hostname in LOOPBACK
    return on_loopback or os.environ.get("GITHUB_ACTIONS") == "true"


def command(address: str | None, *, check: bool) -> list[str]:
    """Return uv's words for an upload; with ``check`` it first looks at what the index has."""
    words = [uv(), "publish", "--no-attestations"] if address else [uv(), "publish"]
    if address:
        words += ["--publish-url", address]
    if address and check:
        words += ["--check-url", f"{address}simple/"]
    return words
