"""What the workflows promise, read from their YAML; schema and zizmor are run by `check`."""

import json
import os
import re
import shutil
import subprocess

import pytest
from release.shell import program
from ruamel.yaml import YAML


@pytest.fixture
def workflows(repository_root):
    paths = sorted(repository_root.glob(".github/workflows/*.yml"))
    return {path.stem: YAML(typ="safe").load(path.read_text()) for path in paths}


def jobs(workflows):
    return [(name, job) for flow in workflows.values() for name, job in flow["jobs"].items()]


def test_there_are_three(workflows):
    assert [*workflows] == ["ci", "docs", "release"]


def test_nothing_is_permitted_at_the_top(workflows):
    assert all(flow["permissions"] == {} for flow in workflows.values())


def test_every_job_has_a_name_a_limit_and_its_own_permissions(workflows):
    for name, job in jobs(workflows):
        assert {"name", "timeout-minutes", "permissions"} <= job.keys(), name
        assert "latest" not in job["runs-on"]


def test_no_script_holds_an_expression(workflows):
    scripts = [step["run"] for _, job in jobs(workflows) for step in job["steps"] if "run" in step]
    assert scripts
    assert not [script for script in scripts if "${{" in script]


def test_no_checkout_keeps_credentials(workflows):
    checkouts = [step for _, job in jobs(workflows) for step in job["steps"] if "checkout@" in step.get("uses", "")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_the_publish_job_has_an_identity_and_nothing_else(workflows):
    job = workflows["release"]["jobs"]["publish"]
    assert job["permissions"] == {"id-token": "write"}
    assert job["environment"] == {"name": "pypi-${{ needs.plan.outputs.dist }}"}
    assert [step["uses"].partition("@")[0] for step in job["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    assert job["steps"][1]["with"] == {"packages-dir": "dist/", "attestations": True}


def test_no_secret_is_read_and_nothing_that_exists_is_skipped(repository_root):
    text = "".join(path.read_text() for path in repository_root.glob(".github/workflows/*.yml"))
    assert "secrets." not in text
    assert "skip-existing" not in text
    assert "password" not in text


def test_only_the_release_page_is_written(workflows):
    writers = [name for name, job in jobs(workflows) if "write" in str(job["permissions"])]
    assert writers == ["publish", "announce"]


def test_the_gate_waits_for_every_other_job(workflows):
    ci = workflows["ci"]["jobs"]
    gate = ci["ci-ok"]
    assert gate["if"] == "always()"
    assert sorted(gate["needs"]) == sorted(ci.keys() - {"ci-ok"})
    script = gate["steps"][0]["run"]
    assert sorted(set(re.findall(r"\.(\w+)", script)) - {"result"}) == sorted(gate["needs"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"floors": "skipped", "tests": "skipped", "wheel": "skipped", "undated": "skipped"}, 0),
        ({"tests": "failure"}, 1),
        ({"wheel": "cancelled"}, 1),
        ({"lint": "skipped"}, 1),
        ({"plan": "failure", "tests": "skipped", "wheel": "skipped", "floors": "skipped"}, 1),
    ],
)
def test_the_gate_opens_only_where_nothing_failed(workflows, changes, code):
    if shutil.which("jq") is None:
        pytest.skip("the gate's script needs jq, which runners have")
    gate = workflows["ci"]["jobs"]["ci-ok"]
    results = {name: {"result": changes.get(name, "success")} for name in gate["needs"]}
    done = subprocess.run(
        ["bash", "-e", "-c", gate["steps"][0]["run"]],
        env={**os.environ, "RESULTS": json.dumps(results)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == code


def test_zizmor_finds_what_is_planted(tmp_path, repository_root):
    text = (repository_root / ".github/workflows/ci.yml").read_text()
    bad = text.replace('run: uv run pytest "packages/$PACKAGE"', 'run: uv run pytest "packages/${{ matrix.package }}"')
    assert bad != text
    for name, content, clean in (("good.yml", text, True), ("bad.yml", bad, False)):
        (tmp_path / name).write_text(content)
        command = [program("zizmor"), "--offline", "--persona=pedantic", "--quiet", tmp_path / name]
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode == 0) is clean


def test_python_versions_of_ci_are_the_declared_ones_and_the_next(workflows):
    ci = workflows["ci"]["jobs"]
    assert ci["floors"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    assert ci["tests"]["strategy"]["matrix"]["python"] == ["3.12", "3.13", "3.14"]
