import io
import sys
import tarfile

import pytest
from release import install
from release.shell import Exit, Refusal

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_an_interpreter_of_this_version_is_found_and_starts():
    assert install.interpreter(HERE)


def test_a_shim_that_does_not_start_is_passed_over(tmp_path, monkeypatch):
    shim = tmp_path / f"python{HERE}"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert install.interpreter(HERE) != str(shim)


def test_a_version_that_is_not_installed_is_refused():
    with pytest.raises(Refusal) as refusal:
        install.interpreter("3.99")
    assert refusal.value.code == Exit.BROKEN


def test_an_sdist_is_unpacked_without_its_sources(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name in ("a-1/src/a/__init__.py", "a-1/tests/test_a.py", "a-1/pyproject.toml"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    install.unpack_tests(tmp_path / "a.tar.gz", tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"tests/test_a.py", "pyproject.toml"}
