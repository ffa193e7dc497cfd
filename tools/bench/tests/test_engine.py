from dataclasses import replace

import pytest
from bench.execute.engine import Engine, View
from bench.execute.events import Done, Failed, Lost, RunFailedError
from bench.execute.train import execute
from bench.protocol.plan import alike, left_to_run, refuse_others
from bench.protocol.profiles import Profile
from bench.protocol.study import Study
from bench.records.models import Run
from bench.records.store import Store, read
from bench.workloads.base import Budget, Workload
from bench.workloads.regress import build

TINY = Workload("tiny", "tiny", "", "RMSE", "lower", {"smoke": {"gradient": Budget(4, 16, 2)}}, build)
PROFILE = Profile("smoke", "", (), points=2, final_seeds=(0, 1), untuned_seeds=(5,), long_seeds=(1000, 1001))
PROFILE = replace(PROFILE, widen=False)
STUDY = Study(PROFILE, TINY, "gradient", ["adamw", "sgd"])


class Here:
    """Runs jobs at once in this process; ``interrupt_after`` and ``die`` plant trouble."""

    def __init__(self, slots=2, interrupt_after=None, die=(), fail=False):
        self.slots, self.interrupt_after, self.die, self.fail = slots, interrupt_after, list(die), fail
        self.queue, self.done = [], []

    def submit(self, job):
        assert len(self.queue) < self.slots
        self.queue.append(job)

    def wait(self, seconds):
        if self.interrupt_after is not None and len(self.done) >= self.interrupt_after:
            raise KeyboardInterrupt
        job = self.queue.pop(0)
        if self.fail:
            return [Failed(job, "ZeroDivisionError: planted")]
        if self.die and self.die.pop(0):
            return [Lost(job, "planted")]
        self.done.append(job.config.key)
        return [Done(job, execute(job, TINY))]

    def close(self):
        self.queue.clear()


def run(path, **trouble):
    store, executor = Store(path), Here(**trouble)
    engine = Engine(store, executor, View())
    try:
        engine.run([STUDY])
    finally:
        store.close()
    return engine, executor, store


def test_a_study_runs_to_its_end_and_a_rerun_repeats_nothing(tmp_path):
    path = tmp_path / "records.jsonl"
    engine, executor, store = run(path)
    assert len(store.selections) == 2
    assert engine.made == len(set(executor.done)) == len(executor.done)
    again, idle, _ = run(path)
    assert (again.made, idle.done) == (0, [])
    assert again.found == engine.made


def test_what_is_announced_is_what_is_left(tmp_path):
    assert left_to_run(STUDY, alike([])) == STUDY.expected_runs()
    with pytest.raises(KeyboardInterrupt):
        run_and_collect(tmp_path / "records.jsonl", [], interrupt_after=3)
    store = Store(tmp_path / "records.jsonl")
    assert left(STUDY, store) == sum(map(sum, STUDY.expected_runs().values())) - 3
    other = Study(PROFILE, replace(TINY, id="other"), "gradient", ["adamw", "sgd"])
    assert left_to_run(other, alike(store.runs.values())) == other.expected_runs()
    store.close()
    _, _, store = run(tmp_path / "records.jsonl")
    assert left(STUDY, store) == 0


def left(study, store):
    return sum(map(sum, left_to_run(study, alike(store.runs.values())).values()))


def test_a_record_file_of_another_protocol_or_workload_is_refused_in_one_line(tmp_path):
    path = tmp_path / "records.jsonl"
    run(path)
    runs = [record for record in read(path) if isinstance(record, Run)]
    refuse_others([STUDY], runs, path)
    old = [found.model_copy(update={"config": found.config.model_copy(update={"protocol": 1})}) for found in runs]
    with pytest.raises(ValueError, match="holds runs of protocol 1, this bench makes those of 2") as refusal:
        refuse_others([STUDY], old, path)
    assert "\n" not in str(refusal.value)
    for changed in (replace(TINY, version=3), replace(TINY, budgets={"smoke": {"gradient": Budget(8, 16, 2)}})):
        with pytest.raises(ValueError, match="holds runs of tiny as it was before"):
            refuse_others([replace(STUDY, workload=changed)], runs, path)


def test_ctrl_c_twice_and_a_rerun_repeat_no_finished_run(tmp_path):
    path, done = tmp_path / "records.jsonl", []
    for after in (3, 4):
        with pytest.raises(KeyboardInterrupt):
            run_and_collect(path, done, interrupt_after=after)
    run_and_collect(path, done)
    assert len(done) == len(set(done))
    whole, _, _ = run(tmp_path / "unbroken.jsonl")
    assert len(done) == whole.made


def run_and_collect(path, done, **trouble):
    store, executor = Store(path), Here(**trouble)
    try:
        Engine(store, executor, View()).run([STUDY])
    finally:
        store.close()
        done += executor.done


def test_a_dead_process_loses_its_run_only_and_that_is_made_again(tmp_path):
    engine, executor, store = run(tmp_path / "records.jsonl", die=[False, True, False, False, False, True])
    assert len(executor.done) == len(set(executor.done)) == engine.made
    assert len(store.selections) == 2


def test_a_run_that_dies_twice_stops_the_session(tmp_path):
    with pytest.raises(RunFailedError, match="died twice"):
        run(tmp_path / "records.jsonl", slots=1, die=[True, True])


def test_an_error_in_a_run_is_told_with_its_place(tmp_path):
    with pytest.raises(RunFailedError, match="tiny, adamw: ZeroDivisionError: planted"):
        run(tmp_path / "records.jsonl", fail=True)
