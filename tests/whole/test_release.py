"""What a release says of itself agrees: name, version, dependencies, addresses."""

import re
import tomllib
from pathlib import Path

import pytest

import odenet
from odenet._utils.sklearn_private import SITE

ROOT = Path(__file__).parents[2]
if not (ROOT / "conda").exists():
    pytest.skip("needs a clone of the repository", allow_module_level=True)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OF_CONDA = {"torch": "pytorch"}  # packages that have another name there


def text_of(path):
    return (ROOT / path).read_text("utf-8")


def test_the_changelog_and_the_citation_have_the_version():
    """The latest section below "Unreleased", with a day, and the same day to cite."""
    pattern = r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$"
    version, day = re.search(pattern, text_of("CHANGELOG.md"), re.M).groups()
    assert version == odenet.__version__
    citation = text_of("CITATION.cff").splitlines()
    assert f"version: {version}" in citation
    assert f"date-released: {day}" in citation


def test_the_changelog_links_every_version():
    titles = re.findall(r"^## \[(.+?)\]", text_of("CHANGELOG.md"), re.M)
    links = re.findall(r"^\[(.+?)\]: https://\S+$", text_of("CHANGELOG.md"), re.M)
    assert titles == links


def test_the_recipe_of_conda_agrees_with_the_project():
    recipe = text_of("conda/recipe.yaml")
    assert f"  name: {PROJECT['name']}\n" in recipe
    assert f'  version: "{odenet.__version__}"\n' in recipe
    assert f"  summary: {PROJECT['description']}\n" in recipe
    assert f"  license: {PROJECT['license']}\n" in recipe
    needed = [f"python{PROJECT['requires-python']}", *PROJECT["dependencies"]]
    needed = [re.sub("^[a-z]+", lambda m: OF_CONDA.get(m[0], m[0]), n) for n in needed]
    run = re.search(r"^  run:\n((?:    - .*\n)+)", recipe, re.M)[1]
    assert re.findall(r"- (.*)\n", run.replace(" >=", ">=")) == needed
    build = tomllib.loads(text_of("pyproject.toml"))["build-system"]["requires"]
    host = re.search(r"^  host:\n((?:    - .*\n)+)", recipe, re.M)[1]
    assert set(re.findall(r"- (.*)\n", host.replace(" >=", ">="))) >= set(build)


def test_extras_are_those_of_this_package():
    """The plain name is somebody else's on the package index."""
    extras = sum(PROJECT["optional-dependencies"].values(), [])
    assert not [need for need in extras if re.match(r"odenet\b(?!-learn)", need)]
    for path in ("README.md", "docs", "odenet", "benchmarks", "examples", ".github"):
        paths = [ROOT / path] if (ROOT / path).is_file() else (ROOT / path).rglob("*.*")
        for file in paths:
            if file.suffix in (".md", ".py", ".yml", ".ipynb"):
                named = re.findall(r"pip install [^`\n]*", file.read_text("utf-8"))
                wrong = [n for n in named if re.search(r"[ \"']odenet(?!-learn)\b", n)]
                is_warning = file.name == "install.md"
                assert wrong == (["pip install odenet"] if is_warning else []), file


def test_the_site_has_one_address():
    urls = PROJECT["urls"]
    assert urls["Homepage"] == SITE
    assert urls["Documentation"].startswith(SITE)
    for path in ("CITATION.cff", "conda/recipe.yaml", ".github/workflows/site.yml"):
        assert SITE in text_of(path), path


def test_a_release_publishes_what_was_tested_under_the_name_of_the_project():
    release = text_of(".github/workflows/release.yml")
    assert f"https://pypi.org/project/{PROJECT['name']}/" in release
    assert ".ci/package" in release
    assert "id-token: write" in release
    assert "password" not in re.sub(r"(?m)^ *#.*$", "", release)
    check = re.search(r"run: grep -qxF \"(.*)\" odenet/_version.py", release)[1]
    line = check.replace("\\", "").replace("${GITHUB_REF_NAME#v}", odenet.__version__)
    assert line in text_of("odenet/_version.py").splitlines()
    name = PROJECT["name"].replace("-", "_")  # of the files, as PEP 625 has it
    assert f"/{name}-*/" in text_of(".ci/package")


def test_a_report_of_a_bug_asks_for_the_versions():
    for path in (".github/ISSUE_TEMPLATE/bug.yml", ".github/SECURITY.md"):
        assert "odenet.show_versions()" in text_of(path)
