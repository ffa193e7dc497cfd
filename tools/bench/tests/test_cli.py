import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench.cli import app
from bench.records.models import Run
from bench.records.store import read
from typer.testing import CliRunner

BENCH = [sys.executable, "-m", "bench"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}


def bench(*words, cwd):
    return subprocess.run([*BENCH, *words], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def test_help_imports_no_torch(tmp_path):
    code = "import sys, bench.cli; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    begin = time.monotonic()
    shown = bench("--help", cwd=tmp_path)
    assert time.monotonic() - begin < 5
    for command in ("run", "report", "replay", "speed", "compare", "list"):
        assert command in shown.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--profile", "huge"), "profile must be one of smoke, quick, full, paper"),
        (("run", "--profile", "smoke", "--methods", "adam"), "method must be one of"),
        (("run", "--profile", "smoke", "--workloads", "cifar"), "workload must be one of"),
        (("run", "--profile", "smoke", "--workloads", "cifar", "--workloads", "diamonds"), "got 'cifar'"),
    ],
)
def test_a_wrong_name_is_one_line_and_writes_nothing(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 2
    assert message in answer.output
    assert list(tmp_path.iterdir()) == []


def test_a_workload_whose_extra_is_missing_says_how_to_bring_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.protocol.plan.importable", lambda workload: not workload.extra)
    answer = CliRunner().invoke(app, ("run", "--profile", "full", "--workloads", "lunarlander"))
    assert answer.exit_code == 2
    assert "uv run --package bench --extra box2d bench" in answer.output


def test_the_lists_name_every_method_and_workload():
    answer = CliRunner().invoke(app, ["list"], env={"COLUMNS": "200"})
    assert answer.exit_code == 0
    for name in ("thermolion", "torcheggroll", "schedulefree", "cartpole", "paper"):
        assert name in answer.output


SMOKE = ("run", "--profile", "smoke", "--methods", "adamw,sgd", "--workloads", "diamonds", "--plain", "--out", "out")


@pytest.mark.slow
def test_a_killed_bench_loses_at_most_one_run_per_process_and_resumes(tmp_path):
    records = tmp_path / "out" / "records.jsonl"
    process = subprocess.Popen([*BENCH, *SMOKE, "--workers", "1"], cwd=tmp_path, env=ENVIRONMENT)
    while not (records.exists() and records.read_bytes().count(b"\n") >= 3):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {run.key for run in read(records) if isinstance(run, Run)}
    assert len(before) >= 3
    assert bench(*SMOKE, "--workers", "1", cwd=tmp_path).returncode == 0
    runs = [run.key for run in read(records) if isinstance(run, Run)]
    assert len(runs) == len(set(runs))
    assert before <= set(runs)
    assert (tmp_path / "out" / "report.html").exists()


def started(folder):
    return subprocess.Popen(
        [*BENCH, *SMOKE, "--workers", "1"], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_run_made_again(tmp_path):
    killed = False
    with started(tmp_path) as process:
        for line in process.stdout:
            if "tune" in line and not killed:
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                worker = [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
                os.kill(int(worker[-1]), signal.SIGKILL)
                killed = True
    assert process.returncode == 0
    assert killed
    keys = [run.key for run in read(tmp_path / "out" / "records.jsonl") if isinstance(run, Run)]
    assert len(keys) == len(set(keys))


@pytest.mark.slow
def test_ctrl_c_twice_and_a_rerun_repeats_nothing_and_a_replay_equals_the_record(tmp_path):
    for _ in range(2):
        seen, finished = "", 0
        with started(tmp_path) as process:
            for line in process.stdout:
                seen += line
                finished += line.startswith("[")
                if finished == 3:
                    process.send_signal(signal.SIGINT)
        assert process.returncode == 130
        assert "finished runs are kept" in seen
    assert bench(*SMOKE, "--workers", "1", cwd=tmp_path).returncode == 0
    runs = [run for run in read(tmp_path / "out" / "records.jsonl") if isinstance(run, Run)]
    assert len(runs) == len({run.key for run in runs})
    answer = bench("replay", runs[0].key[:8], "--records", "out/records.jsonl", cwd=tmp_path)
    assert "equal to the bit" in answer.stdout


@pytest.mark.slow
def test_the_ray_executor_yields_the_same_records(tmp_path):
    pytest.importorskip("ray", reason="needs bench[ray]")
    local = bench(*SMOKE[:-1], "local", cwd=tmp_path)
    remote = bench(*SMOKE[:-1], "remote", "--executor", "ray", cwd=tmp_path)
    assert (local.returncode, remote.returncode) == (0, 0), local.stderr + remote.stderr
    found: dict[str, dict] = {}
    for name in ("local", "remote"):
        runs = [record for record in read(tmp_path / name / "records.jsonl") if isinstance(record, Run)]
        found[name] = {run.key: (run.curve.value, run.curve.loss, run.test) for run in runs}
    assert found["local"] == found["remote"]
