"""The documents: what they name exists, what they tell to run runs."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import odenet

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("[!_]*.py"))
INDEX = ROOT / "examples" / "README.md"
READMES = [README, INDEX, *sorted((ROOT / "benchmarks").rglob("README.md"))]

MODULES = (odenet, odenet.schemes, odenet.solvers)
PUBLIC = [(module, name) for module in MODULES for name in module.__all__]


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=[name for _, name in PUBLIC])
def test_every_public_name_is_documented(module, name):
    thing = getattr(module, name)
    assert thing.__doc__
    if callable(thing):
        assert ">>>" in thing.__doc__
    if isinstance(thing, type):
        for member in (getattr(thing, n) for n in vars(thing) if not n.startswith("_")):
            assert member.__doc__ or not callable(member)


def test_code_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) > 1
    names = {}
    for code in blocks:
        exec(compile(code, str(README), "exec"), names)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_links_of_the_readmes_lead_somewhere(readme):
    text = readme.read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert links
    assert [link for link in links if not (readme.parent / link).exists()] == []
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_commands_of_the_readmes_name_scripts_that_are_there(readme):
    scripts = re.findall(r"python ([\w/]+\.py)", readme.read_text())
    assert scripts
    assert [script for script in scripts if not (ROOT / script).exists()] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_in_the_index_with_a_thumbnail(path):
    text = INDEX.read_text()
    assert f"]({path.name})" in text
    assert f'src="{path.stem}.png"' in text
    assert path.with_suffix(".png").exists()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path, monkeypatch, tmp_path):
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    monkeypatch.setattr(sys, "argv", [str(copy)])
    runpy.run_path(str(copy), run_name="__main__")
    assert copy.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_benchmarks_run(path, tmp_path):
    command = [sys.executable, str(path), "--quick", "--json", str(tmp_path / "x.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.json").stat().st_size > 10
