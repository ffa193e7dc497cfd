import pytest
from release import imports, rules
from release.workspace import find

SRC = "packages/alpha/src/alpha/x.py"
INTEGRATION = "packages/alpha/src/alpha/integrations/x.py"
TESTS = "packages/alpha/tests/test_x.py"
EXAMPLE = "packages/alpha/examples/x.py"
LAZY = "def f():\n    "
TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "

ALLOWED = [
    (SRC, "import torch, math, os.path\nfrom collections import abc"),
    (SRC, "from alpha._scale import scale\nfrom . import _checks"),
    (SRC, LAZY + "import matplotlib.pyplot"),
    (SRC, TYPES + "import matplotlib.pyplot"),
    (INTEGRATION, "import lightning"),
    (TESTS, "import alpha, pytest, torch, hypothesis, testkit, lightning"),
    (TESTS, "from alpha._scale import scale"),
    (EXAMPLE, "import alpha, torch, numpy, gymnasium"),
    ("docs/x.py", "import alpha\nfrom alphabeta import scale"),
    ("tools/bench/src/bench/x.py", "import alpha, numpy, bench"),
    ("tools/testkit/src/testkit/x.py", "import torch, pytest"),
]
REFUSED = [
    (SRC, "import alphabeta", "packages never import each other"),
    (SRC, "from alphabeta import scale", "packages never import each other"),
    (SRC, LAZY + "from alphabeta import scale", "packages never import each other"),
    (SRC, "import testkit", "packages never import each other"),
    (SRC, "import kit", "packages never import each other"),
    (SRC, "import numpy", "what it declares"),
    (SRC, LAZY + "import numpy", "what it declares"),
    (SRC, "import pytest", "inside integrations/"),
    (SRC, "import lightning", "a trainer"),
    (SRC, LAZY + "import lightning", "a trainer"),
    (SRC, "import matplotlib.pyplot", "inside the function that needs it"),
    (INTEGRATION, "import numpy", "what it declares"),
    (TESTS, "import alphabeta", "packages never import each other"),
    (TESTS, "import bench", "packages never import each other"),
    (TESTS, "import scipy", "a package's tests"),
    (EXAMPLE, "from alpha_beta import x\nfrom alphabeta._scale import scale", "public names"),
    ("docs/x.py", "from alpha._scale import scale", "public names"),
    ("tools/bench/src/bench/x.py", "from alpha import _scale", "public names"),
    ("tools/bench/src/bench/x.py", "import kit", "not the tools"),
    ("tools/testkit/src/testkit/x.py", "import alpha", "testkit knows no other member"),
    ("tools/testkit/src/testkit/x.py", "import numpy", "the test kit imports"),
    ("tools/release/src/release/x.py", "import alpha", "release knows no other member"),
]


@pytest.fixture
def house(tree):
    """The example workspace with the real tools' names."""
    config = (tree.root / "tools/kit/pyproject.toml").read_text()
    for name in ("testkit", "bench", "release"):
        text = config.replace('name = "kit"', f'name = "{name}"').replace("src/kit", f"src/{name}")
        tree.write(f"tools/{name}/pyproject.toml", text)
    return tree


@pytest.mark.parametrize(("path", "text"), ALLOWED)
def test_what_the_table_allows_passes(house, path, text):
    house.write(path, text)
    assert imports.faults(house.workspace, path) == []


@pytest.mark.parametrize(("path", "text", "said"), REFUSED)
def test_a_planted_violation_is_found_with_its_place(house, path, text, said):
    house.write(path, text)
    faults = imports.faults(house.workspace, path)
    assert len(faults) == 1, faults
    assert said in faults[0]
    assert faults[0].startswith(f"{path}:{len(text.splitlines())}: ")


@pytest.mark.parametrize("member", ["packages/alpha", "tools/testkit"])
@pytest.mark.parametrize("helper", ["oracle.py", "helpers/oracle.py", "oracle/__init__.py"])
def test_a_test_may_import_its_members_own_helpers(house, member, helper):
    house.write(f"{member}/tests/{helper}", "")
    house.write(f"{member}/tests/test_x.py", "import oracle")
    assert imports.faults(house.workspace, f"{member}/tests/test_x.py") == []
    house.write(f"{member}/src/x.py", "import oracle")
    assert len(imports.faults(house.workspace, f"{member}/src/x.py")) == 1


def test_extras_are_used_where_a_module_imports_them(house):
    assert imports.used_extras(house.workspace.package("alpha")) == []
    house.write(INTEGRATION, "import lightning")
    house.write(SRC, LAZY + "import matplotlib.pyplot")
    assert imports.used_extras(house.workspace.package("alpha")) == ["plot", "trainer"]


def test_check_fails_on_a_planted_violation(house, run):
    assert run("check", "--only", "boundaries").code == 0
    house.write(SRC, "import alphabeta")
    outcome = run("check", "--only", "boundaries")
    assert outcome.code == 1
    assert f"{SRC}:1: alphabeta: packages never import each other" in outcome.out


def test_modules_may_form_a_chain_and_not_a_circle(house, run):
    src = SRC.rpartition("/")[0]
    house.write(f"{src}/one.py", "from alpha import two")
    house.write(f"{src}/two.py", "from alpha.three import name")
    house.write(f"{src}/three.py", "import os")
    assert run("check", "--only", "import-circles").code == 0
    house.write(f"{src}/three.py", "def f():\n    from alpha.one import name")
    outcome = run("check", "--only", "import-circles")
    assert outcome.code == 1
    assert all(f"alpha.{name}" in outcome.out for name in ("one", "two", "three"))


@pytest.mark.parametrize(
    "back",
    ["from ..one import name", "from .. import one", "def f():\n    from ..one import name",
     "if TYPE_CHECKING:\n    from ..one import name"],
)  # fmt: skip
def test_relative_imports_close_a_circle_too(house, back):
    src = SRC.rpartition("/")[0]
    house.write(f"{src}/one.py", "from .part import name")
    house.write(f"{src}/part/__init__.py", "from .two import name")
    house.write(f"{src}/part/two.py", "from . import three")
    house.write(f"{src}/part/three.py", "from os import path")
    member = house.workspace.package("alpha")
    assert imports.circles(member) == []
    house.write(f"{src}/part/three.py", back)
    (fault,) = imports.circles(member)
    assert all(f"alpha.{name}" in fault for name in ("one", "part", "part.two", "part.three"))
    assert bool(imports.circles(member, types=False)) is ("TYPE_CHECKING" not in back)


@pytest.mark.parametrize("types", [False, True], ids=["imports that run", "types too"])
def test_no_member_of_this_workspace_has_an_import_circle(repository_root, types):
    members = find(repository_root).members.values()
    found = {member.name: imports.circles(member, types=types) for member in members}
    assert len(found) == 8
    assert {name for name, faults in found.items() if faults} <= (rules.TYPES_APART if types else set())


def test_a_file_that_does_not_parse_is_a_fault(house):
    house.write(SRC, "import os\n  x = 1\n")
    assert imports.faults(house.workspace, SRC) == [f"{SRC}:2: does not parse: unexpected indent"]
