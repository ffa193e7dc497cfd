import gzip
import json

import pytest
from bench.records.models import Run
from bench.records.store import DamagedRecordError, Store, read, read_many


def write(path, *records):
    store = Store(path)
    for record in records:
        store.append(record)
    store.close()


def test_what_is_written_is_read_back(tmp_path, fabricate):
    path = tmp_path / "records.jsonl"
    write(path, *fabricate.study())
    assert read(path) == fabricate.study()
    packed = tmp_path / "records.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(packed) == read(path)


def test_a_torn_last_line_is_dropped_and_written_over(tmp_path, fabricate):
    path = tmp_path / "records.jsonl"
    write(path, fabricate.run(seed=0), fabricate.run(seed=1))
    path.write_bytes(path.read_bytes()[:-40])
    assert [record.config.seed for record in read(path)] == [0]
    write(path, fabricate.run(seed=2))
    assert [record.config.seed for record in read(path)] == [0, 2]


def test_a_number_edited_by_hand_is_found(tmp_path, fabricate):
    path = tmp_path / "records.jsonl"
    write(path, fabricate.run(seed=0), fabricate.run(seed=1))
    lines = path.read_text().splitlines()
    record = json.loads(lines[1])
    record["test"] = 0.99
    path.write_text(lines[0] + "\n" + json.dumps(record) + "\n")
    with pytest.raises(DamagedRecordError, match=r"line 2: .*edited after the run"):
        read(path)


def test_a_config_edited_by_hand_is_found_even_with_a_new_digest(fabricate):
    run = fabricate.run()
    forged = run.model_copy(update={"config": run.config.model_copy(update={"seed": 77})}).seal()
    with pytest.raises(ValueError, match="its config hashes to"):
        Run.model_validate_json(forged.model_dump_json())


def test_a_line_that_is_no_record_is_named(tmp_path, fabricate):
    path = tmp_path / "records.jsonl"
    write(path, fabricate.run())
    path.write_text("garbage\n" + path.read_text())
    with pytest.raises(DamagedRecordError, match="line 1: every line must be a record"):
        Store(path)


def test_two_writers_are_refused(tmp_path):
    store = Store(tmp_path / "records.jsonl")
    with pytest.raises(RuntimeError, match="being written by another bench"):
        Store(tmp_path / "records.jsonl")
    store.close()
    Store(tmp_path / "records.jsonl").close()


def test_files_are_joined_by_run(tmp_path, fabricate):
    one, two = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write(one, fabricate.run(seed=0), fabricate.run(seed=1))
    write(two, fabricate.run(seed=1), fabricate.run(seed=2))
    assert [run.config.seed for run in read_many([one, two])] == [0, 1, 2]


def test_infinity_and_nan_survive(tmp_path, fabricate):
    run = fabricate.run(trace={"lr": [float("inf")]})
    write(tmp_path / "r.jsonl", run)
    assert read(tmp_path / "r.jsonl")[0].trace["lr"] == [float("inf")]


def test_everything_that_matters_enters_the_key(fabricate):
    config = fabricate.run().config
    changes = [
        {"seed": 9},
        {"entry": "lion"},
        {"params": {"lr": 0.002}},
        {"budget": {"steps": 11, "batch": 4, "evals": 2}},
        {"data": {"mnist5k": "y"}},
        {"device": "cuda"},
        {"task": "t"},
        {"workload": "mnist5k"},
        {"protocol": 3},
        {"version": 2},
    ]
    keys = {config.model_copy(update=change).key for change in changes}
    assert len(keys | {config.key}) == len(changes) + 1
