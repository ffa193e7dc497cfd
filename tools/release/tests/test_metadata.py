import zipfile

import pytest
from release import build

GOOD = """Metadata-Version: 2.4
Name: alpha
Version: 0.2.0
Summary: A package
Project-URL: Original, https://example.org
Author: Quintet contributors
License-Expression: MIT
License-File: LICENSE
Keywords: example
Classifier: Development Status :: 4 - Beta
Classifier: Intended Audience :: Developers
Classifier: Programming Language :: Python :: 3.11
Classifier: Typing :: Typed
Requires-Python: >=3.11
Provides-Extra: dev
Description-Content-Type: text/markdown

# alpha

A [link](https://example.org), `code[0](1)`.
"""


def wheel(path, text):
    with zipfile.ZipFile(path / "alpha.whl", "w") as archive:
        archive.writestr("alpha-0.2.0.dist-info/METADATA", text)
        archive.writestr("alpha-0.2.0.dist-info/licenses/LICENSE", "MIT")
    return path / "alpha.whl"


def test_complete_metadata_has_no_fault(tree, tmp_path):
    assert build.metadata_faults(wheel(tmp_path, GOOD), tree.workspace.package("alpha")) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Version: 0.2.0", "Version: 0.3.0", "name and version must be alpha 0.2.0"),
        ("Summary: A package\n", "", "summary"),
        ("Keywords: example\n", "", "keywords"),
        ("License-Expression: MIT\n", "", "license expression"),
        ("License-File: LICENSE\n", "", "license file"),
        ("License-File: LICENSE", "License-File: COPYING", "COPYING is not in the wheel"),
        ("Project-URL: Original, https://example.org\n", "", "project URL"),
        ("https://example.org\nAuthor", "http://example.org\nAuthor", "project URL"),
        ("Requires-Python: >=3.11\n", "", "requires-python"),
        ("Provides-Extra: dev\n", "", "extra `dev`"),
        ("Author: Quintet contributors\n", "", "author"),
        ("text/markdown", "text/plain", "Markdown"),
        ("Typing :: Typed", "Typing :: Yes", "'Typing :: Yes' is not known"),
        ("Classifier: Typing :: Typed\n", "", "'Typing :: Typed' is missing"),
        ("(https://example.org)", "(docs/index.md)", "links to 'docs/index.md'"),
    ],
)
def test_each_fault_is_named(tree, tmp_path, old, new, said):
    assert GOOD.count(old)
    faults = build.metadata_faults(wheel(tmp_path, GOOD.replace(old, new, 1)), tree.workspace.package("alpha"))
    assert len(faults) >= 1
    assert any(said in fault for fault in faults), faults
