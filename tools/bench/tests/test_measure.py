import importlib
import sys
import time
import types
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch
from bench.speed.measure import Bar, Measured, NumberCase, SpeedCase, compare
from bench.speed.memory import peak_allocated_mb, peak_rss_mb
from bench.speed.run import find_cases, judge, run_case


def burn(seconds):
    def call():
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    return call


def allocate(count):
    ones = torch.ones(count)

    def call():
        for _ in range(3):
            del_me = ones * 2
            del del_me

    return call


def test_twice_the_work_reads_as_twice_the_time():
    one, two = compare({"one": burn(0.002), "two": burn(0.004)}, against="one", rounds=5)
    assert one.ratio == 1
    assert two.ratio == pytest.approx(2, rel=0.1)
    assert two.low <= two.ratio <= two.high
    assert two.extra == pytest.approx(0.002, rel=0.3)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    compare({"a": lambda: None}, against="a", rounds=3, repeat=1)
    assert torch.get_num_threads() == before


def test_a_case_is_timed_with_each_of_its_thread_counts():
    seen = []

    def make(device):
        return {"a": lambda: seen.append(torch.get_num_threads())}

    case = SpeedCase("case", "package", make, "a", (Bar("a", 2.0),), rounds=3, threads=(1, 2))
    rows = run_case(case, "cpu")
    assert [row.threads for row in rows if row.value is not None] == [1, 2]
    assert set(seen) == {1, 2}


@pytest.mark.parametrize(("against", "rounds"), [("missing", 5), ("a", 2)])
def test_what_cannot_be_compared_is_refused(against, rounds):
    with pytest.raises(ValueError, match="got"):
        compare({"a": lambda: None}, against=against, rounds=rounds)


def test_peak_memory_is_the_worst_moment_and_not_the_sum():
    size = 4 * 2_000_000 / 1e6
    assert peak_allocated_mb(allocate(2_000_000)) == pytest.approx(size, rel=0.05)


def test_a_child_process_reports_its_own_peak(tmp_path, monkeypatch):
    code = "import torch\ndef prepare(numel):\n    return lambda: torch.ones(numel).add(1).sum()\n"
    (tmp_path / "task_of_the_child.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    prepare = importlib.import_module("task_of_the_child").prepare
    assert peak_rss_mb(prepare, 10_000_000) == pytest.approx(80, rel=0.2)


def test_a_task_that_the_child_cannot_import_is_an_error_and_no_wait(monkeypatch):
    lost = types.ModuleType("lost_module")
    exec("def prepare():\n    return lambda: None", lost.__dict__)
    monkeypatch.setitem(sys.modules, "lost_module", lost)
    with pytest.raises(BrokenProcessPool):
        peak_rss_mb(lost.prepare)


MEASURED = Measured("x", "y", 1e-3, 1.25, 1.2, 1.3, 5e-5, 9, 1)


@pytest.mark.parametrize(
    ("bar", "value", "holds"),
    [
        (Bar("x", 1.3), 1.25, True),
        (Bar("x", 1.2), 1.25, False),
        (Bar("x", 75, "percent at least"), 80, True),
        (Bar("x", 85, "percent at least"), 80, False),
        (Bar("x", 0.9, "times faster"), 0.8, False),
        (Bar("x", 30, "overhead percent"), 25, True),
        (Bar("x", 60, "microseconds"), 50, True),
        (Bar("x", 40, "microseconds"), 50, False),
    ],
)
def test_each_kind_of_bar_reads_its_own_number(bar, value, holds):
    assert judge(bar, measured=MEASURED) == (pytest.approx(value), holds)


def test_every_package_has_cases_and_helpers_beside_them_have_none():
    everyone = {case.package for case in find_cases()}
    assert everyone == {"adaptive-optimizer", "pulseopt", "ranger-lite", "thermolion", "torcheggroll"}
    assert {case.package for case in find_cases("pulseopt")} == {"pulseopt"}


def test_a_bar_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="NumberCase"):
        judge(Bar("x", 1, "number at most"), measured=MEASURED)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_cuda_bars_without_a_gpu_are_shown_as_not_measured():
    case = SpeedCase("c", "p", lambda device: {}, "a", bars=(Bar("a", 1.0),), devices=("cpu", "cuda"))
    (row,) = run_case(case, "cuda")
    assert row.note.startswith("not measured")
    assert row.holds is None


def test_a_candidate_that_cannot_exist_here_keeps_its_bar_in_the_table():
    case = NumberCase("c", "p", lambda device: {"a": 3.0}, "MB", bars=(Bar("a", 4, "number at most"), Bar("b", 1.0)))
    a, b = run_case(case, "cpu")
    assert (a.value, a.holds) == (3.0, True)
    assert (b.candidate, b.holds) == ("b", None)
