import subprocess
import sys

import pytest
from release import stranger


@pytest.mark.parametrize(("line", "code"), [("import json", 0), ("import pluggy", 1)])
def test_a_module_that_loads_something_undeclared_is_found(tmp_path, line, code):
    (tmp_path / "lone").mkdir()
    (tmp_path / "lone" / "__init__.py").write_text("")
    (tmp_path / "lone" / "deep.py").write_text(line)
    command = [sys.executable, stranger.__file__, "lone", "lone"]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("pluggy" in done.stdout) is bool(code)


def test_integrations_are_left_for_those_who_have_the_extra(tmp_path, monkeypatch):
    (tmp_path / "other" / "integrations").mkdir(parents=True)
    (tmp_path / "other" / "__init__.py").write_text("")
    (tmp_path / "other" / "integrations" / "__init__.py").write_text("")
    (tmp_path / "other" / "integrations" / "trainer.py").write_text("import no_such_trainer")
    monkeypatch.syspath_prepend(tmp_path)
    assert stranger.import_all("other") == {"other"}


def test_what_a_dependency_declares_is_declared_and_extras_are_not():
    found = stranger.declared("pytest")
    assert {"pytest", "pluggy", "iniconfig"} <= found
    assert "hypothesis" not in found
