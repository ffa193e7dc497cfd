"""The record file: append-only JSON lines that survive a kill at any moment.

Each record is one write, flushed to the disk before the run counts as finished. A torn last line (a kill during the
write) is dropped, with a word; anything else that does not read is an error that names the line.
"""

import gzip
import os
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout
from pydantic import ValidationError

from bench.records.models import Record, Run, Sealed, Selection, Session, adapter


class DamagedRecordError(ValueError):
    """A record that was not written by the bench, or was changed since."""


class Store:
    """Records of one file, all of them in memory, and the open end of it."""

    def __init__(self, path: Path) -> None:
        """Reads what is there and locks the file.

        Raises:
            RuntimeError: another bench writes to it.
            DamagedRecordError: a line was edited or does not read.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        with ExitStack() as opened:
            try:
                opened.enter_context(FileLock(f"{path}.lock", blocking=False))
            except Timeout:
                raise RuntimeError(
                    f"{path} is being written by another bench; wait for it, or choose another --out"
                ) from None
            self._file: IO[bytes] = opened.enter_context(path.open("ab"))
            self._cut_torn_line()
            records = read(path)
            self._opened = opened.pop_all()
        self.runs = {record.key: record for record in records if isinstance(record, Run)}
        self.selections = {record.name: record for record in records if isinstance(record, Selection)}
        self.sessions = [record for record in records if isinstance(record, Session)]

    def _cut_torn_line(self) -> None:
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):
            self._file.truncate(content.rfind(b"\n") + 1)

    def append(self, record: Sealed) -> None:
        """Seals the record, writes it, and returns only when it is on the disk."""
        sealed = record.seal()
        self._file.write(sealed.model_dump_json().encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        if isinstance(sealed, Run):
            self.runs[sealed.key] = sealed
        elif isinstance(sealed, Selection):
            self.selections[sealed.name] = sealed
        elif isinstance(sealed, Session):
            self.sessions.append(sealed)

    def close(self) -> None:
        """Closes the file and gives up the lock."""
        self._opened.close()


def read(path: Path) -> list[Record]:
    """All records of a file, ``.gz`` or plain.

    Raises:
        DamagedRecordError: a line (other than a torn last one) does not read, or does not match its digest.
        OSError: there is no such file.
    """
    if path.is_dir():
        inside = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")])
        hint = f"name {inside[0]}" if inside else "it holds no .jsonl either"
        raise ValueError(f"records must be a file written by bench, got the folder {path}; {hint}")
    raw = _unpacked(path) if path.suffix == ".gz" else path.read_bytes()
    lines = raw.split(b"\n")
    lines.pop()  # what follows the last newline: nothing, or a torn line
    return [_parse(line, path, number) for number, line in enumerate(lines, start=1)]


def _unpacked(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DamagedRecordError(
            f"{path} must be a whole gzip file ({error}); copy it again, or name the .jsonl that it was made of"
        ) from None


def _parse(line: bytes, path: Path, number: int) -> Record:
    try:
        record = adapter.validate_json(line)
    except ValidationError as error:
        raise DamagedRecordError(
            f"{path}, line {number}: every line must be a record written by bench, got "
            f"{line[:60].decode(errors='replace')!r} ({error.errors()[0]['msg']}); delete that line to go on without it"
        ) from None
    if record.digest != record.content_digest():
        raise DamagedRecordError(
            f"{path}, line {number}: a record must match its digest {record.digest!r}, its content gives "
            f"{record.content_digest()!r}; it was edited after the run: delete that line and run bench again"
        )
    return record


def read_many(paths: Iterable[Path]) -> list[Record]:
    """Records of several files, later ones replacing earlier ones of the same name."""
    merged: dict[str, Record] = {}
    for path in paths:
        for record in read(path):
            name = record.key if isinstance(record, Run) else getattr(record, "name", record.digest)
            merged[name] = record
    return list(merged.values())
