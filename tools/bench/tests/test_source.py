from dataclasses import replace

import pytest
from bench.workloads.data import diamonds, mnist5k, plays
from bench.workloads.data.source import DriftedDataError, Source


def test_every_pinned_file_is_the_one_installed():
    for source in (mnist5k.SOURCE, diamonds.SOURCE, plays.SOURCE):
        for name in source.checksums:
            assert source.read(name)


def test_a_drifted_file_is_an_error_that_names_it(tmp_path, monkeypatch):
    package = tmp_path / "driftpackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "data.csv").write_text("1,2\n")
    monkeypatch.syspath_prepend(tmp_path)
    source = Source("d", "driftpackage", "driftpackage==1", {"data.csv": "0" * 64, "gone.csv": "0" * 64}, "")
    with pytest.raises(DriftedDataError, match=r"data\.csv of driftpackage==1 must have SHA-256 0000"):
        source.read("data.csv")
    with pytest.raises(DriftedDataError, match=r"gone\.csv"):
        source.read("gone.csv")


def test_a_missing_package_says_what_to_install():
    with pytest.raises(RuntimeError, match="install it"):
        Source("d", "no_such_package_here", "no-such-package==1", {}, "").read("x")


def test_another_checksum_is_another_run():
    source = mnist5k.SOURCE
    other = replace(source, checksums={mnist5k.FILE: "1" * 64})
    assert other.fingerprint() != source.fingerprint()
