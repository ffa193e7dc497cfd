import re

from release.exits import MEANINGS, Exit


def test_every_code_has_a_meaning():
    assert [*MEANINGS] == [*Exit]


def test_the_page_on_releasing_prints_the_same_table(repository_root):
    page = (repository_root / "docs" / "releasing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(str(code.value), meaning) for code, meaning in MEANINGS.items()]
