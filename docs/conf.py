"""The site: MyST pages, and an API reference read from source without importing torch."""

import ast
import re
import sys
from pathlib import Path
from typing import Any

from astroid import AstroidImportError, nodes
from astroid.manager import AstroidManager
from jinja2 import Environment
from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent

project = "Quintet"
author = "Quintet contributors"
copyright = "2026, the Quintet contributors"

extensions = ["myst_parser", "autoapi.extension", "sphinx.ext.napoleon", "sphinx_design", "sphinx_copybutton"]
exclude_patterns = ["_build", "_templates", "tests", "records"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autoapi_dirs = [str(path) for path in sorted(ROOT.glob("packages/*/src/*")) if path.is_dir()]
autoapi_root = "api"
autoapi_keep_files = False
autoapi_ignore = ["*/fused_*"]  # kernels
autoapi_add_toctree_entry = False
autoapi_options = ["members", "imported-members"]
autoapi_template_dir = "_templates"
autoapi_python_class_content = "both"
default_role = "literal"  # docstrings have names in single backticks
toc_object_entries_show_parents = "hide"
add_module_names = False
python_maximum_signature_line_length = 88
napoleon_use_ivar = True

# Absolute values in docstrings: reStructuredText reads bars as substitutions.
rst_prolog = r"""
.. |L| replace:: \|L\|
.. |R - c| replace:: \|R - c\|
"""

nitpicky = True
# Names that live outside this site: no inventory is fetched, the build is offline.
nitpick_ignore_regex = [
    ("py:.*", r"(torch|triton|numpy|lightning|transformers|datasets)(\..*)?"),
    ("py:.*", r"(collections|contextlib|typing|pathlib|random|os|abc)(\..*)?"),
    ("py:.*", r"(Any|Callable|Iterable|Iterator|Sequence|Mapping|Path|Tensor|Self|ParamsT|optional|callable)"),
    ("py:.*", r"(.*\.)?_\w+(\..*)?"),  # private bases and types
    (
        "py:(class|obj)",
        r"(.*\.)?(Params|Rule|RuleOrName|ProcessGroup|Actor|Records?|Dataset|IterableDataset|.* .*"
        r"|ParameterFilter|Shaping|Sigma|Reward|DrawDeltas|Factors|Item|Norms|Delta|Moments)",
    ),  # aliases, prose
    ("py:.*", r"(.*\.)?(BaseController|BaseEpisodeManager|AdaptiveMode|RateSearchManager)"),  # bases in private modules
]
suppress_warnings = ["autoapi.python_import_resolution"]

read_module = AstroidManager.ast_from_module_name
READ = {*sys.stdlib_module_names, *(Path(folder).name for folder in autoapi_dirs)}


def read_ours(manager: AstroidManager, modname: str | None, *more: Any, **named: Any) -> nodes.Module:
    """Leave other packages unread: torch alone is thousands of files, and nothing of it is shown."""
    if modname is not None and modname.partition(".")[0] not in READ:
        raise AstroidImportError("not read for the reference: {modname}", modname=modname)
    return read_module(manager, modname, *more, **named)


AstroidManager.ast_from_module_name = read_ours  # type: ignore[method-assign]

# What each module offers in `__all__`; autoapi leaves out the rest of such a module.
OFFERED: dict[str, list[str]] = {
    ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__"): ast.literal_eval(said[1])
    for folder in map(Path, autoapi_dirs)
    for path in folder.rglob("*.py")
    if (said := re.search(r"^__all__ = (\[.*?\])", path.read_text(), re.MULTILINE | re.DOTALL))
}


def skips(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: list[str]) -> bool | None:
    """Shows what users call: names that an `__all__` of the package offers, and names whose docstring has an example.

    A name is shown once: a module that imports it shows it only if it is defined in a private module.
    """
    module = name.rpartition(".")[0]
    if what in ("module", "package"):
        below = (*obj.children, *getattr(obj, "subpackages", ()), *getattr(obj, "submodules", ()))
        return skip or not any(child.display for child in below)
    if what not in ("class", "function", "exception", "data") or skip:
        return None
    if obj.imported:
        return "._" not in obj.obj["original_path"] or "." not in module
    package = name.partition(".")[0]
    offered = any(obj.short_name in names for other, names in OFFERED.items() if other.partition(".")[0] == package)
    return module not in OFFERED and not offered and ">>>" not in obj.docstring


SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Warns|Examples?|Notes?):$")


def layout(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keeps what reStructuredText would read otherwise: the line breaks of equations, the indented rest of a source."""
    head, text = "", list(lines)
    lines.clear()
    for before, line in zip(["", *text], text, strict=False):
        indented = line.startswith("    ")
        if indented and what in ("module", "package") and not before.strip() and head and not SECTION.match(head):
            lines += [".. code-block:: text", ""] if not head.endswith("::") else []
            head = "::"  # further paragraphs of the block belong to it
        elif line and not indented:
            head = line
        if head.startswith("Source:"):
            lines.append(line.strip())
        else:
            lines.append(line.replace("``", "") if head == "::" else line)


def prepare(environment: Environment) -> None:
    """Gives the templates a test for private names: a class does not show its private bases."""
    environment.tests["private"] = lambda name: name.startswith("_") or "._" in name


autoapi_prepare_jinja_env = prepare


def setup(app: Sphinx) -> None:
    """Connects both handlers to the reference."""
    app.connect("autoapi-skip-member", skips)
    app.connect("autodoc-process-docstring", layout, priority=400)  # before napoleon


html_theme = "pydata_sphinx_theme"
html_title = "Quintet"
html_static_path = ["_static"]
html_css_files = ["quintet.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# The index page of a section lists its pages; only the reference shows them beside each page too.
html_sidebars = {page: [] for page in ("[!a]*", "packages/*", "guides/*")}
