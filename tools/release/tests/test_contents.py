import io
import tarfile
import zipfile

import pytest
from release import build

TRACKED = ["pyproject.toml", "README.md", "src/a/__init__.py", "src/a/py.typed", "tests/test_a.py", "notes.txt"]


def wheel(path, names):
    with zipfile.ZipFile(path / "a-1.whl", "w") as archive:
        for name in [*names, "a-1.dist-info/METADATA", "a-1.dist-info/licenses/LICENSE"]:
            archive.writestr(name, "")
    return path / "a-1.whl"


def sdist(path, names):
    with tarfile.open(path / "a-1.tar.gz", "w:gz") as archive:
        for name in [*names, "PKG-INFO", ".gitignore"]:
            archive.addfile(tarfile.TarInfo(f"a-1/{name}"), io.BytesIO())
    return path / "a-1.tar.gz"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a/__init__.py", "a/py.typed"], []),
        (["a/__init__.py"], ["a-1.whl lacks a/py.typed, which git tracks"]),
        (["a/__init__.py", "a/py.typed", "a/x"], ["a-1.whl holds a/x, which git does not track"]),
        (
            ["a/__init__.py", "a/py.typed", "tests/test_a.py"],
            ["a-1.whl holds tests/test_a.py, which git does not track"],
        ),
    ],
)
def test_a_wheel_holds_the_tracked_modules(tmp_path, names, said):
    assert build.wheel_faults(wheel(tmp_path, names), TRACKED) == said


@pytest.mark.parametrize(
    ("lost", "extra", "said"),
    [
        ([], [], []),
        (["tests/test_a.py"], [], ["a-1.tar.gz lacks tests/test_a.py, which git tracks"]),
        (["pyproject.toml"], [], ["a-1.tar.gz lacks pyproject.toml, which git tracks"]),
        ([], ["notes.txt"], ["a-1.tar.gz holds notes.txt, which git does not track"]),
    ],
)
def test_an_sdist_holds_sources_tests_and_examples(tmp_path, lost, extra, said):
    names = [name for name in TRACKED if name != "notes.txt" and name not in lost] + extra
    assert build.sdist_faults(sdist(tmp_path, names), TRACKED) == said
