"""Sphinx: how the documentation site is built from these pages. `make docs` does it."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://github.com/djangopackages/djangopackages/blob/main"
sys.path.insert(0, str(ROOT))

project = "core.http"
author = "the contributors of djangopackages"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "core.http"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
highlight_language = "text"  # of blocks that name no language: commands, log lines and PromQL

myst_heading_anchors = 4  # links to headings as GitHub makes them
myst_enable_extensions = ["colon_fence"]

default_role = "py:obj"  # what docstrings have between single backticks
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 100  # longer ones have a line for each parameter
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"


def link_to_the_repository(_: Sphinx, name: str, source: list[str]) -> None:
    """Let links out of docs/, which lead to files on GitHub, lead there from the site as well."""
    up = "../" * (name.count("/") + 1)
    source[0] = source[0].replace(f"]({up}CHANGELOG.md)", f"]({up[3:]}changelog.md)")
    if name == "changelog":  # its links begin at the root
        source[0] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")
    if name == "runbooks/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n[A-Z]*[a-z]\n```\n"
    source[0] = re.sub(rf"\]\({re.escape(up)}(?!\.\./)([^)]+)\)", rf"]({REPOSITORY}/\1)", source[0])


def setup(app: Sphinx) -> None:
    """Register it."""
    app.connect("source-read", link_to_the_repository)
