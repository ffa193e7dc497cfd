"""The site: MyST pages, and an API reference read from source without importing torch."""

import sys
from pathlib import Path
from typing import Any

from astroid import AstroidImportError, nodes
from astroid.manager import AstroidManager

ROOT = Path(__file__).parent.parent

project = "Quintet"
author = "Quintet contributors"
copyright = "2026, the Quintet contributors"

extensions = ["myst_parser", "autoapi.extension", "sphinx.ext.napoleon", "sphinx_design", "sphinx_copybutton"]
exclude_patterns = ["_build", "tests", "records"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autoapi_dirs = [str(path) for path in sorted(ROOT.glob("packages/*/src/*")) if path.is_dir()]
autoapi_root = "api"
autoapi_keep_files = False
autoapi_ignore = ["*/fused_*"]  # kernels
autoapi_add_toctree_entry = False
autoapi_options = ["members", "show-inheritance", "show-module-summary"]
autoapi_python_class_content = "both"

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
        r"|ParameterFilter|Shaping|Sigma|Reward|DrawDeltas|Factors|Item|Norms)",
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

html_theme = "pydata_sphinx_theme"
html_title = "Quintet"
html_static_path = ["_static"]
html_css_files = ["quintet.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Pages stand side by side in the header; only the reference has pages below pages.
html_sidebars = {page: [] for page in ("[!a]*", "packages/*", "guides/*")}
