import re
from xml.etree import ElementTree

import pytest
from bench.report.canvas import STYLE, plt
from bench.report.compact import compact

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def raw():
    import io

    buffer = io.StringIO()
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(2, 3)
        for number, axes in enumerate(grid.flat):
            axes.plot([0, 1, 2], [number, 0.123456, 2.5], "o-")
            axes.set_title(f"panel -{number}.25 of 1.2345")
        figure.savefig(buffer, format="svg")
        plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def shapes(text, precision=1):
    """Every number of every path, mark and text, rounded."""
    found = []
    for element in ElementTree.fromstring(text).iter():
        kind = element.tag.removeprefix(SVG)
        if kind in ("path", "use", "text"):
            place = " ".join(element.get(name, "") for name in ("d", "x", "y"))
            found.append((kind, [round(float(n), precision) for n in re.findall(r"-?\d+\.?\d*", place)]))
    return found


def styles(text):
    """The style of every element in order, wherever it is told."""
    tree = ElementTree.fromstring(text)
    told = {}
    for sheet in tree.iter(SVG + "style"):
        told |= dict(re.findall(r"\.(s[0-9a-f]{8})\{([^}]*)\}", sheet.text or ""))
    elements = [told.get(e.get("class", ""), e.get("style", "")) for e in tree.iter()]
    return [style.replace(" ", "") for style in elements if style]


def test_every_line_and_mark_stays_where_it_was(raw):
    assert shapes(compact(raw)) == shapes(raw)


def test_every_word_and_label_stays_as_it_was(raw):
    def words(text):
        return [e.text.strip() for e in ElementTree.fromstring(text).iter(SVG + "text")]

    assert any("1.2345" in word for word in words(raw))
    assert words(compact(raw)) == words(raw)


def test_every_element_keeps_its_style(raw):
    assert sorted(styles(compact(raw))) == sorted(styles(raw))


def test_references_still_have_what_they_refer_to(raw):
    small = compact(raw)
    wanted = set(re.findall(r"url\(#([^)]+)\)", small)) | set(re.findall(r'href="#([^"]+)"', small))
    assert wanted
    assert wanted <= set(re.findall(r'id="([^"]+)"', small))


def test_it_is_less_than_half_as_large(raw):
    assert len(compact(raw)) < 0.5 * len(raw)
