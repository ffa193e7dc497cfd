import sys

import pytest
from release.shell import Broken, Exit, Refusal, Shell, program


def test_every_command_is_printed_with_place_and_settings(tmp_path, capfd):
    (tmp_path / "a b").mkdir()
    Shell(tmp_path).run("true", "x y", cwd=tmp_path / "a b", env={"WORD": "two words"})
    assert capfd.readouterr().err == f"$ (in {tmp_path / 'a b'}) WORD='two words' true 'x y'\n"


def test_a_dry_run_reads_and_does_not_write(tmp_path, capfd):
    shell = Shell(tmp_path, dry_run=True)
    shell.run("touch", tmp_path / "made")
    assert not (tmp_path / "made").exists()
    assert shell.query("echo", "read") == "read\n"
    assert capfd.readouterr().err.count("$ ") == 2


def test_a_failure_that_breaks_a_rule_is_refused(tmp_path):
    with pytest.raises(Refusal) as refusal:
        Shell(tmp_path).run("false", why="two\nlines")
    assert (refusal.value.code, str(refusal.value)) == (Exit.REFUSED, "two lines")


def test_any_other_failure_is_broken(tmp_path):
    with pytest.raises(Broken, match="`false` failed") as refusal:
        Shell(tmp_path).run("false")
    assert refusal.value.code == Exit.BROKEN


def test_a_program_that_is_missing_is_a_refusal(tmp_path):
    with pytest.raises(Refusal, match="does not run"):
        Shell(tmp_path).query("no-such-program-here")
    with pytest.raises(Refusal, match="is not installed"):
        program("no-such-program-here")


def test_what_a_command_prints_stays_off_standard_output(tmp_path, capfd):
    Shell(tmp_path).run(sys.executable, "-c", "print('noise')")
    out, err = capfd.readouterr()
    assert out == ""
    assert "noise" in err
