"""The site as it was built by ``sphinx-build -W -b html docs docs/_build/html``."""

import inspect
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from sklearn.base import BaseEstimator

from odenet._utils.sklearn_private import SITE
from tests.whole.test_docs import MODULES

BUILT = Path(__file__).parents[2] / "docs" / "_build" / "html"
LINKED = [
    getattr(module, name)
    for module in MODULES
    for name in module.__all__
    if inspect.isclass(getattr(module, name))
    and issubclass(getattr(module, name), BaseEstimator)
]

needs_site = pytest.mark.skipif(
    not (BUILT / "index.html").exists(), reason="needs the built site"
)


class Page(HTMLParser):
    """The anchors of a page of HTML, and where its links and figures lead."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.targets = set(), set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        self.anchors |= {told[key] for key in ("id", "name") if told.get(key)}
        self.targets |= {told[key] for key in ("href", "src") if told.get(key)}


@pytest.mark.parametrize("cls", LINKED, ids=lambda cls: cls.__name__)
def test_help_leads_to_the_page_of_the_class(cls):
    """The "?" of scikit-learn's picture; pages are named by autosummary."""
    (module,) = (m for m in MODULES if cls.__name__ in m.__all__)
    page = f"api/generated/{module.__name__}.{cls.__name__}.html"
    model = cls()
    assert model._get_doc_link() == SITE + page
    assert f'href="{SITE}{page}"' in model._repr_html_()
    if (BUILT / "index.html").exists():
        assert (BUILT / page).exists(), "build the site again"


def test_help_of_other_classes_does_not_lead_to_the_site():
    class Own(LINKED[0]):
        pass

    assert Own()._get_doc_link() == ""


@needs_site
def test_links_inside_the_site_lead_somewhere():
    paths = (p for p in BUILT.rglob("*.html") if "_static" not in p.parts)
    pages = {path: Page(path) for path in paths}
    assert len(pages) > 60
    broken = []
    for path, page in pages.items():
        for link in page.targets:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path
            if parts.path:
                target = (path.parent / unquote(parts.path)).resolve()
            if target.is_dir():
                target /= "index.html"
            anchors = pages[target].anchors if target in pages else {""}
            anchor = unquote(parts.fragment)
            if not target.exists() or (anchor and anchor not in anchors):
                broken.append((path.relative_to(BUILT).as_posix(), link))
    assert broken == []
