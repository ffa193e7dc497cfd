"""A data file inside an installed package, pinned by its SHA-256 and found without importing the package."""

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


class DriftedDataError(RuntimeError):
    """A data file is not the one that the published numbers were measured on."""


@dataclass(frozen=True)
class Source:
    """Files of one package: relative path to SHA-256."""

    id: str
    module: str  # the package's import name
    package: str  # what to install
    checksums: dict[str, str]
    about: str

    @cached_property
    def root(self) -> Path:
        """The package's folder.

        Raises:
            RuntimeError: it is not installed.
        """
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError(f"the data of {self.id} comes inside {self.package}: install it")
        return Path(next(iter(spec.submodule_search_locations)))

    @cached_property
    def installed(self) -> bool:
        """Returns whether the package is there."""
        return importlib.util.find_spec(self.module) is not None

    def read(self, name: str) -> bytes:
        """The bytes of one file, after checking them.

        Raises:
            DriftedDataError: they are not the pinned ones.
        """
        path = self.root / name
        if not path.is_file():
            raise DriftedDataError(f"{name} must be inside {self.package}, found nothing there; install that version")
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != self.checksums[name]:
            raise DriftedDataError(
                f"{name} of {self.package} must have SHA-256 {self.checksums[name]}, got {found}: "
                f"the data changed, so results would not be comparable; install {self.package} again"
            )
        return content

    def fingerprint(self) -> str:
        """One checksum for all the pinned files, which enters the run's key."""
        joined = "".join(f"{name}:{self.checksums[name]}\n" for name in sorted(self.checksums))
        return hashlib.sha256(joined.encode()).hexdigest()[:16]
