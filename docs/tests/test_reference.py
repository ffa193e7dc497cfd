"""What the reference shows of a module, and how it sets docstrings."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("astroid", reason="needs the docs group")
pytest.importorskip("sphinx", reason="needs the docs group")


@pytest.fixture(scope="module")
def conf():
    return runpy.run_path(str(Path(__file__).parents[1] / "conf.py"))


def member(name, docstring="", original=None, children=()):
    data = {} if original is None else {"original_path": original}
    short = name.rpartition(".")[2]
    return SimpleNamespace(
        short_name=short, docstring=docstring, imported=original is not None, obj=data, children=children
    )


@pytest.mark.parametrize(
    ("what", "name", "more", "shown"),
    [
        ("class", "pulseopt.scheduler.AEES", {}, True),  # in the __all__ of its module
        ("function", "torcheggroll.recurrent.helper", {}, False),
        ("function", "torcheggroll.recurrent.entry", {"docstring": ">>> entry()"}, True),
        ("function", "torcheggroll.noise.seeded.compute_es_gradient", {}, True),  # in the __all__ of the package
        ("class", "pulseopt.controller.RandomController", {"original": "pulseopt._bandits.baselines.R"}, True),
        ("class", "pulseopt.controller.CandidateConfig", {"original": "pulseopt.types.CandidateConfig"}, False),
        ("class", "pulseopt.RandomController", {"original": "pulseopt._bandits.baselines.R"}, False),
    ],
)
def test_the_reference_shows_what_users_call_and_shows_it_once(conf, what, name, more, shown):
    assert bool(conf["skips"](None, what, name, member(name, **more), False, [])) is not shown


@pytest.mark.parametrize("displays", [True, False])
def test_a_module_is_shown_if_something_in_it_is(conf, displays):
    module = member("pulseopt.some", children=[SimpleNamespace(display=displays)])
    assert conf["skips"](None, "module", "pulseopt.some", module, False, []) is not displays


def laid_out(conf, what, text):
    lines = text.splitlines()
    conf["layout"](None, what, "name", None, None, lines)
    return lines


def test_equations_keep_their_lines(conf):
    text = "The step of ``theta``:\n\n    a = b  (1)  ``trend``\n    c = d  (2)\n\nProse."
    assert laid_out(conf, "module", text) == [
        "The step of ``theta``:",
        "",
        ".. code-block:: text",
        "",
        "    a = b  (1)  trend",
        "    c = d  (2)",
        "",
        "Prose.",
    ]


def test_arguments_and_literal_blocks_stay_as_they_are(conf):
    for text in ("Returns.\n\nArgs:\n    x: one.\n\n    y: two.", "A loop::\n\n    for x in y: ..."):
        assert laid_out(conf, "module", text) == text.splitlines()


def test_the_indented_rest_of_a_source_is_one_paragraph_with_it(conf):
    text = "Adapts.\n\nSource: one paper,\n    and another."
    assert laid_out(conf, "class", text)[-2:] == ["Source: one paper,", "and another."]
