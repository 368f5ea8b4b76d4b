"""Settings of the documentation: `make docs` builds it with them."""

import re

from docutils import nodes
from latex2mathml.converter import convert

import openmm_reparam

project = "openmm-reparam"
author = "the openmm-reparam authors"
copyright = "2026, the openmm-reparam authors"
version = release = openmm_reparam.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute", "benchmarks/generated/*"]
templates_path = ["_templates"]
default_role = "py:obj"
# Public names can be reached from the package and from their module; either target is right.
# py3Dmol shows a second form of its view, for Jupyter alone.
suppress_warnings = ["ref.python", "mystnb.unknown_mime_type"]

html_theme = "furo"
html_title = "openmm-reparam"
# Browsers show MathML by themselves: pages need nothing from the network.
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["tables.css"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

# The notebooks are text files; each build runs them, so that they cannot go stale.
nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"show-inheritance": True}
napoleon_google_docstring = False
napoleon_use_ivar = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def escape_bars(app, what, name, obj, options, lines):
    """Show |F| in a docstring as it stands: reStructuredText takes bars for substitutions."""
    for number, line in enumerate(lines):
        if "`" not in line and not line.startswith("   >>>"):
            lines[number] = re.sub(r"(?<!\\)\|", r"\|", line)


def write_inline_math(translator, node):
    """Write a formula in a line as MathML."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def write_display_math(translator, node):
    """Write a formula on a line of its own as MathML."""
    translator.body.append(f"<div>{convert(node.astext(), display='block')}</div>")
    raise nodes.SkipNode


def setup(app):
    """Connect what formulas need, and docstrings; after napoleon, which reads these first."""
    app.add_html_math_renderer("mathml", (write_inline_math, None), (write_display_math, None))
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
