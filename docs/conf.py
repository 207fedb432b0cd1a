"""Sphinx configuration of this documentation, which `make docs` builds."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("extensions")))

from bids_qcm import __version__

project = "bids_qcm"
author = "the bids_qcm developers"
copyright = "the bids_qcm developers"
release = version = __version__

extensions = [
    "mathml",
    "myst_parser",
    "numpydoc",
    "parser_options",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples", "extensions", "templates"]
smartquotes = False  # smart quotes would change the two hyphens of options
html_theme = "furo"
html_title = f"bids_qcm {release}"
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["mathematics.css", "wide-tables.css"]

myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
myst_dmath_allow_space = myst_dmath_allow_digits = False  # keep dollars in prose
html_math_renderer = "mathml"

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings already describe the types
add_module_names = False
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": ".py",
    "download_all_examples": False,
    "abort_on_example_error": True,
    "show_memory": False,
    "min_reported_time": 0,
    "remove_config_comments": True,
}
