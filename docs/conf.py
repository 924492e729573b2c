"""Settings of the site: ``sphinx-build -W -b html docs docs/_build/html``.

The site is built without a network, and without running the examples, in a minute or
so. The variable ODENET_GALLERY=1 runs the examples. The workflow site.yml publishes it.
"""

import os
import re
import shutil
from pathlib import Path

from odenet import __version__
from odenet._utils.sklearn_private import SITE

DOCS = Path(__file__).parent
ROOT = DOCS.parent
BLOB = "https://github.com/odenet-developers/odenet/blob/main/"

# A link to a file above the page, but no figure.
LINK = r"(?<!!)(?P<words>\[[^\[\]]*)\]\((?P<file>\.\./[^)#]+)(?P<anchor>#[^)]+)?\)"

RUNS_EXAMPLES = os.environ.get("ODENET_GALLERY") == "1"

project = "odenet"
author = "The odenet developers"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",  # drawn by the reader's browser, which needs a network
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_gallery"]

# Inventories of other projects are downloaded. Without a network that is a warning,
# and warnings are errors here: so names of other projects are links where the site is
# published, and plain text elsewhere.
if os.environ.get("ODENET_INTERSPHINX") == "1":
    extensions.append("sphinx.ext.intersphinx")
intersphinx_mapping = {
    "numpy": ("https://numpy.org/doc/stable", None),
    "pandas": ("https://pandas.pydata.org/docs", None),
    "python": ("https://docs.python.org/3", None),
    "scipy": ("https://docs.scipy.org/doc/scipy", None),
    "skorch": ("https://skorch.readthedocs.io/en/stable", None),
    "sklearn": ("https://scikit-learn.org/stable", None),
    "torch": ("https://docs.pytorch.org/docs/stable", None),
}

# The titles of a page have the anchors that GitHub gives them.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]

autosummary_generate = True
autodoc_typehints = "none"  # docstrings have the types
numpydoc_show_class_members = False  # the template of classes lists them
copybutton_exclude = ".linenos, .gp, .go"  # prompts and results of examples

toc_object_entries_show_parents = "hide"  # methods fit into the column of the page

html_theme = "pydata_sphinx_theme"
html_title = f"odenet {release}"
html_baseurl = SITE  # the address of each page, for search engines
html_theme_options = {
    "github_url": "https://github.com/odenet-developers/odenet",
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "use_edit_page_button": False,
}
# Pages that have no others below them have no list of these.
html_sidebars = dict.fromkeys(
    ["architecture", "callbacks", "changelog", "comparison", "faq", "glossary"]
    + ["install", "play", "why_depth"],
    [],
)
# The still takes the place of the film for readers who want no motion, see site.css.
html_static_path = ["_static", "../examples/plot_training_animated.png"]
html_css_files = ["site.css", "play.css"]
html_show_sourcelink = False

suppress_warnings = ["config.cache"]  # a class among the settings is no value


def gathered_examples():
    """Copy the examples to a folder of their own, with what the gallery asks for.

    The gallery is made of copies, so that a figure that an example saves beside itself
    does not replace that of the repository, and so that examples are free of settings.
    An example that is not run shows the figure that the repository has, and a film is
    shown in any case.
    """
    folder = DOCS / "_gallery"
    folder.mkdir(exist_ok=True)
    head = "Examples\n========\n\nEach example makes one claim, and draws one figure.\n"
    (folder / "GALLERY_HEADER.rst").write_text(head)
    for path in sorted((ROOT / "examples").glob("plot_*.py")):
        shutil.copy(path.with_suffix(".png"), folder)
        shown = path.with_suffix(".gif")
        if shown.exists():
            shutil.copy(shown, folder)
        else:
            shown = path.with_suffix(".png")
        figure = f"\n.. image:: /_gallery/{shown.name}\n"
        if RUNS_EXAMPLES and shown.suffix == ".png":  # it draws its own
            figure = ""
        thumbnail = f'# sphinx_gallery_thumbnail_path = "_gallery/{path.stem}.png"\n'
        text = path.read_text().replace('\n"""\n', f'\n{figure}"""\n', 1) + thumbnail
        copy = folder / path.name
        if not copy.exists() or copy.read_text() != text:
            copy.write_text(text)
    return str(folder)


class IndexOrder:
    """Sorts examples as the README of their folder does."""

    def __init__(self, folder):
        self.index = (ROOT / "examples" / "README.md").read_text()

    def __call__(self, name):
        """Return where an example stands."""
        return self.index.index(f"]({name})")


sphinx_gallery_conf = {
    "examples_dirs": gathered_examples(),
    "gallery_dirs": "auto_examples",
    "plot_gallery": RUNS_EXAMPLES,
    "within_subsection_order": IndexOrder,
    "download_all_examples": False,
    "capture_repr": (),  # only what is printed
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "write_computation_times": False,
}


def leave_the_site(app, name, source):
    """Lead links of a page to files that are not part of the site to the repository.

    Pages are read on GitHub as well, where links between files work as they are.
    Figures are taken from where they lie. An anchor of HTML becomes one of MyST.
    """
    folder = (DOCS / name).parent

    def resolved(match):
        target = Path(os.path.normpath(folder / match["file"]))
        if target.is_relative_to(DOCS) or not target.is_relative_to(ROOT):
            return match[0]
        address = BLOB + target.relative_to(ROOT).as_posix()
        return f"{match['words']}]({address}{match['anchor'] or ''})"

    if app.env.doc2path(name, base=False).suffix == ".md":
        text = re.sub(LINK, resolved, source[0])
        source[0] = re.sub(r'<a id="([^"]+)"></a>', r"(\1)=", text)


def mend_docstring(app, what, name, thing, options, lines):
    r"""Join lines that end with a backslash, and unlink titles of other projects.

    A raw docstring keeps such a backslash. scikit-learn's docstrings, which estimators
    inherit, name sections of its own guide, which only its inventory knows.
    """
    text = re.sub(r"\\\n\s+", "", "\n".join(lines))
    if "sphinx.ext.intersphinx" not in extensions:
        text = re.sub(r":ref:`([^<`]+?) *<[^>]+>`", r"\1", text)
    lines[:] = text.split("\n")


def setup(app):
    """Register what this file adds; docstrings are mended before numpydoc, at 500."""
    app.connect("source-read", leave_the_site)
    app.connect("autodoc-process-docstring", mend_docstring, priority=400)
