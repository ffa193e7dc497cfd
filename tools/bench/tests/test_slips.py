"""Every slip of a user is one line and exit code 2; a fault of the bench keeps its traceback."""

import errno
import gzip
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench.cli import app
from bench.commands.console import speak_plainly
from bench.records.store import Store
from typer.testing import CliRunner

BENCH = [sys.executable, "-m", "bench"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
SMOKE = ("run", "--profile", "smoke", "--workers", "1", "--out", "out")


@pytest.fixture
def here(tmp_path, monkeypatch, fabricate):
    """A folder with a good record file, and with each kind of a bad one."""
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "good.jsonl")
    for record in fabricate.study():
        store.append(record)
    store.close()
    (tmp_path / "good.jsonl.lock").unlink(missing_ok=True)
    content = (tmp_path / "good.jsonl").read_bytes()
    whole = gzip.compress(content)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "spoilt.jsonl.gz").write_bytes(whole[:200] + bytes(50) + whole[250:])
    (tmp_path / "plain.jsonl.gz").write_bytes(content)
    (tmp_path / "schema.jsonl").write_text('{"kind": "run", "key": 1}\n')
    (tmp_path / "kind.jsonl").write_text('{"kind": "walk"}\n')
    (tmp_path / "table.jsonl").write_text("a,b\n1,2\n")
    (tmp_path / "binary.jsonl").write_bytes(bytes(range(256)) + b"\n")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    return tmp_path


def answer_to(*words):
    answer = CliRunner().invoke(app, words)
    assert isinstance(answer.exception, SystemExit | None), answer.exception
    return answer


SLIPS = [
    (("rn",), "did you mean 'run'"),
    (("run", "--profle", "smoke"), "--profile"),
    (("run", "--workers", "many"), "integer"),
    (("run", "--profile", "quik"), "did you mean quick?"),
    (("run", "--profile", "smoke", "--device", "gpu"), "device must be one of cpu, cuda"),
    ((*SMOKE, "--executor", "rya"), "did you mean ray?"),
    ((*SMOKE, "--methods", "adamv"), "or adamw"),
    ((*SMOKE, "--workloads", "diamond"), "did you mean diamonds?"),
    (("run", "--profile", "smoke", "--workloads", "diamonds", "--out", "good.jsonl"), "a file has the folder's name"),
    (("run", "--profile", "smoke", "--workloads", "diamonds", "--out", "good.jsonl/x"), "a file has the folder's name"),
    (("report", "cut.jsonl.gz"), "must be a whole gzip file"),
    (("report", "spoilt.jsonl.gz"), "must be a whole gzip file"),
    (("report", "plain.jsonl.gz"), "must be a whole gzip file"),
    (("report", "folder"), "must be a file written by bench, got the folder"),
    (("report", "."), "name binary.jsonl"),
    (("report", "god.jsonl"), "did you mean good.jsonl"),
    (("report", "no/such.jsonl"), "neither does the folder"),
    (("report", "schema.jsonl"), "line 1: every line must be a record"),
    (("report", "kind.jsonl"), "line 1: every line must be a record"),
    (("report", "table.jsonl"), "line 1: every line must be a record"),
    (("report", "binary.jsonl"), "line 1: every line must be a record"),
    (("report", "empty.jsonl"), "at least one tuned workload"),
    (("report", "good.jsonl", "--out", "empty.jsonl"), "a file has the folder's name"),
    (("report",), "records"),
    (("replay", "zzz", "--records", "good.jsonl"), "names 0 of"),
    (("replay", "abc", "--records", "folder"), "got the folder"),
    (("speed", "--package", "thermolio"), "did you mean thermolion?"),
    (("speed", "--device", "tpu"), "device must be one of"),
    (("fix", "god.jsonl"), "did you mean good.jsonl"),
    (("publish", "good.jsonl", "--root", "folder"), "does not exist"),
    (("compare", "no.py"), "no.py does not exist"),
]


@pytest.mark.parametrize(("words", "message"), SLIPS, ids=lambda value: " ".join(value) if type(value) is tuple else "")
def test_a_slip_is_one_line_and_exit_code_2(words, message, here):
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    answer = answer_to(*words)
    assert answer.exit_code == 2
    assert message.lower() in answer.output.lower()
    assert re.fullmatch(r"(profile smoke: .*\n)?bench: .*\n", answer.output), answer.output
    left = {path: path.read_bytes() for path in here.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert left == before


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "no space is left on the disk for out/records.jsonl; free some"),
        (errno.EROFS, "out/records.jsonl may not be read or written"),
        (errno.EACCES, "out/records.jsonl may not be read or written"),
    ],
)
def test_a_disk_that_takes_nothing_is_one_line(number, message, here, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number), "out/records.jsonl")

    monkeypatch.setattr(Store, "__init__", refuse)
    answer = answer_to("run", "--profile", "smoke", "--workloads", "diamonds", "--workers", "1", "--out", "out")
    assert answer.exit_code == 2
    assert message in answer.output


def test_a_disk_that_fills_up_under_a_report_is_one_line(here, monkeypatch):
    real = Path.write_text

    def write(path, *args, **kwargs):
        if path.name == "summary.csv":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", write)
    answer = answer_to("report", "good.jsonl")
    assert answer.exit_code == 2
    assert "no space is left on the disk for outputs/bench/report/summary.csv" in answer.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_behind_standard_output_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*BENCH, "list"], env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "bench: no space is left on the disk for the output; " + (
        "free some and repeat the command: finished runs are kept\n"
    )


def test_a_fault_of_the_bench_keeps_its_traceback(monkeypatch):
    def broken():
        raise KeyError("planted")

    monkeypatch.setattr("bench.commands.listing.show_lists", broken)
    answer = CliRunner().invoke(app, ["list"])
    assert isinstance(answer.exception, KeyError)


def test_nothing_is_lost_in_ascii():
    texts = [
        subprocess.run(
            [*BENCH, "list"], env={**ENVIRONMENT, "PYTHONIOENCODING": code}, capture_output=True, check=True
        ).stdout.decode(code)
        for code in ("ascii", "utf-8")
    ]
    assert texts[0].count("?") == texts[1].count("?") > 0


@pytest.mark.parametrize("encoding", ["latin-1", "cp437"])
@pytest.mark.parametrize("words", [("list",), ("--help",)], ids=" ".join)
def test_every_encoding_is_spoken(encoding, words):
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": encoding, "TERM": "xterm"}
    done = subprocess.run([*BENCH, *words], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert "\x1b" not in text  # no colour into a pipe


def test_letters_an_encoding_lacks_are_written_plainly():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    speak_plainly((stream,))
    stream.write("σ ≥ 1 – é × ½ 語")
    stream.flush()
    assert raw.getvalue() == b"sigma >= 1 - e x 12 ?"
