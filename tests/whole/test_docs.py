"""The documents: what they name exists, what they tell to run runs."""

import ast
import doctest
import importlib
import inspect
import json
import multiprocessing
import os
import pkgutil
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import odenet
import odenet.dask
from tests.whole import figures

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
NOTEBOOK = ROOT / "examples" / "quick_start.ipynb"
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("[!_]*.py"))
INDEX = ROOT / "examples" / "README.md"
READMES = [README, INDEX, *sorted((ROOT / "benchmarks").rglob("README.md"))]
GENERATED = {"_build", "_gallery", "auto_examples", "generated"}  # by sphinx-build
PAGES = [
    path
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if not GENERATED & set(path.parts)
]
DOCUMENTS = [
    *READMES,
    *ROOT.glob("C*.md"),  # the changelog, and how to contribute
    *PAGES,
    *ROOT.glob("tests/README.md"),
    *ROOT.glob("benchmarks/[!R]*.md"),
    *ROOT.glob(".github/*.md"),
    NOTEBOOK,
]

# The cheapest, and one of the paper: these run every time, the others are slow.
EVERY_RUN = {
    "plot_network_to_ode",
    "plot_paper_figure_2",
    "defaults",
    "gradient_seconds",
    "width",
}

# What makes a long example short: pieces of its text, each with what takes its place.
# All lines run, on shorter fits; with ODENET_ROUNDS, of any value, as they are.
SHORTER = {
    "plot_change_depth": {"depth=64, ": "depth=64, flow_time=0.5, ", "(10_000": "(100"},
    "plot_depth_search": {"1, 4, 16, 64": "1, 2", "(random": "(flow_time=0.5, random"},
    "plot_distillation": {
        "Classifier(random": "Classifier(max_iter=5, random",
        "X_train, random": "X_train[:200], random",
    },
    "plot_iid_versus_smooth": {'"flow_time": 20.0': '"flow_time": 1.0'},
    "plot_paper_figure_1": {'"flow_time": 10.0': '"flow_time": 1.0'},
    "plot_refine_while_training": {
        "ResODEClassifier(256": "ResODEClassifier(64",
        '"flow_time": 200.0': '"flow_time": 2.0',
    },
    "plot_tabular": {"[::20]": "[::60]", "=True, random": "=True, depth=4, random"},
    "plot_text": {
        "MLPClassifier(": "MLPClassifier(hidden_layer_sizes=5, ",
        "depth=16, ": "depth=2, flow_time=0.5, ",
    },
}

MODULES = (odenet, odenet.dask, odenet.losses, odenet.schemes, odenet.solvers)


def scripts(paths):
    """Parametrise a test by scripts, of which most are slow."""
    return pytest.mark.parametrize(
        "path",
        [
            pytest.param(
                path,
                id=path.stem,
                marks=[] if path.stem in EVERY_RUN else pytest.mark.slow,
            )
            for path in paths
        ],
    )


def of_documents(documents):
    return pytest.mark.parametrize(
        "document", documents, ids=lambda path: str(path.relative_to(ROOT))
    )


def anchors(document):
    """What GitHub makes of the titles of a document, and the anchors that it sets."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    of_titles = {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
    return of_titles | set(re.findall(r'<a id="([^"]+)"></a>', text))


def test_every_public_name_is_documented():
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            assert thing.__doc__, name
            if callable(thing):
                assert ">>>" in thing.__doc__, name
            if isinstance(thing, type):
                for member in vars(thing):
                    if not member.startswith("_"):
                        value = getattr(thing, member)
                        assert value.__doc__ or not callable(value), (name, member)


def blocks_of(document, kinds="python"):
    """The blocks of Python of a document, each after as many lines as it has above.

    ``kinds`` is a pattern of what follows the three marks that open a block.
    """
    text = document.read_text()
    blocks = rf"^```{kinds}\n(.*?)^```"
    for match in re.finditer(blocks, text, re.DOTALL | re.MULTILINE):
        yield "\n" * text[: match.start(1)].count("\n") + match[1]


@of_documents([README, *(page for page in PAGES if any(blocks_of(page)))])
def test_code_of_documents_runs(document, tmp_path, monkeypatch):
    """The blocks of a document share their names, and leave files in a folder."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in blocks_of(document):
        exec(compile(code, str(document), "exec"), names)


@pytest.mark.cluster
@of_documents([page for page in PAGES if any(blocks_of(page, "python cluster"))])
def test_code_for_clusters_runs(document, tmp_path):
    """In a process of its own, between the other blocks of the document."""
    for name in ("distributed", "ray"):
        pytest.importorskip(name)
    code = "\n".join(blocks_of(document, "python(?: cluster)?"))
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True
    )


@pytest.mark.cluster
@pytest.mark.parametrize("name", odenet.dask.__all__)
def test_examples_with_workers_run(name):
    """They are left out where there is no Dask, and run here."""
    pytest.importorskip("distributed")
    text = getattr(odenet.dask, name).__doc__.replace("  # doctest: +SKIP", "")
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    found = doctest.DocTestRunner().run(example, clear_globs=False)
    example.globs["client"].close()
    assert found.attempted > 5
    assert found.failed == 0


def test_the_notebook_runs(monkeypatch):
    """Its cells share their names, and are kept without what they print."""
    pytest.importorskip("matplotlib").use("agg")
    names = {}
    for number, cell in enumerate(json.loads(NOTEBOOK.read_text("utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            code = "".join(cell["source"])
            exec(compile(code, f"{NOTEBOOK.name}, cell {number}", "exec"), names)


def test_the_user_guide_has_code_on_every_page():
    guide = [page for page in PAGES if page.parent.name == "user_guide"]
    assert len(guide) > 10
    without = {page.stem for page in guide if not any(blocks_of(page))}
    assert without == {"index"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module):
    """No other name is there, and none twice."""
    text = (ROOT / "docs" / "api" / f"{module.__name__.split('.')[-1]}.md").read_text()
    assert f".. currentmodule:: {module.__name__}\n" in text
    listed = re.findall(r"^\.\. py:data:: (\w+)$", text, re.MULTILINE)
    for names in re.findall(r"   :toctree: generated/\n\n((?:   \w+\n)+)", text):
        listed += names.split()
    listed += re.findall(r"\{mod\}`odenet\.(\w+)`", text)
    assert sorted(listed) == sorted(module.__all__)


def test_every_page_is_in_a_table_of_contents():
    listed = {ROOT / "docs" / "index.md"}
    for page in PAGES:
        trees = re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL)
        names = " ".join(trees).replace("<", " ").replace(">", " ").split()
        listed |= {page.parent / f"{name}.md" for name in names}
    assert set(PAGES) <= listed


@of_documents(DOCUMENTS)
def test_links_lead_somewhere(document):
    links = re.findall(
        r"\]\((?!http|mailto)([^)#]*)(?:#([^)]+))?\)", document.read_text()
    )
    for name, anchor in links:
        target = document.parent / name if name else document
        assert target.exists(), name
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), (name, anchor)


def modules_of_odenet():
    """All modules of the package."""
    walk = pkgutil.walk_packages(odenet.__path__, "odenet.")
    return [odenet, *(importlib.import_module(info.name) for info in walk)]


def found(name, module):
    """Tell whether a docstring of a module can name this: a path, or a name there."""
    places = [odenet, module, *(v for v in vars(module).values() if inspect.isclass(v))]
    *path, last = name.split(".")
    for n in range(len(path), 0, -1):  # the longest part of the path that is a module
        try:
            places.append(importlib.import_module(".".join(path[:n])))
        except ImportError:
            continue
        path = path[n:]
        places = places[-1:]
        break
    for step in path:
        places = [getattr(place, step) for place in places if hasattr(place, step)]
    return any(hasattr(place, last) for place in places)


def references(module):
    """What the docstrings of a module refer to, by roles and below "See Also"."""
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    holders = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = (node for node in ast.walk(tree) if isinstance(node, holders))
    for text in (ast.get_docstring(node) or "" for node in nodes):
        yield from re.findall(r":(?:class|func|meth|mod|attr|obj):`~?([^`]+)`", text)
        for section in re.findall(r"See Also\n-+\n(.*?)(?:\n\n|\Z)", text, re.S):
            yield from re.findall(r"^(\S+) :", section, re.M)


def test_cross_references_of_docstrings_lead_somewhere():
    told = {module: set(references(module)) for module in modules_of_odenet()}
    assert sum(map(len, told.values())) > 50
    for module, names in told.items():
        assert [n for n in names if not found(n, module)] == [], module.__name__


def test_commands_name_scripts_that_are_there():
    for document in DOCUMENTS:
        scripts = re.findall(r"python ([\w/]+\.py)", document.read_text())
        assert [s for s in scripts if not (ROOT / s).exists()] == [], document


@of_documents(READMES)
def test_readmes_have_links_and_commands(document):
    text = document.read_text()
    assert re.search(r"\]\((?!http)[^)#]+\)", text)
    assert re.search(r"python [\w/]+\.py", text)


def test_the_readme_is_short():
    """What it cut down to the measurements and the user guide must not come back."""
    lines = README.read_text().splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if line.startswith("|") and len(line) > 100] == []


def test_examples_are_in_the_index_with_a_thumbnail():
    text = INDEX.read_text()
    for path in EXAMPLES:
        assert f"]({path.name})" in text
        assert f'src="{path.stem}.png"' in text
        assert path.with_suffix(".png").exists()
    for film in INDEX.parent.glob("*.gif"):
        assert f"]({film.name})" in text
        assert film.stat().st_size < 2_000_000  # a page of the site waits for it


def test_figures_are_of_their_scripts():
    """A figure is the one recorded, and its code is as it was, or says what changed.

    Draw it anew, and run ``python tests/whole/figures.py FIGURE``.
    """
    record = json.loads(figures.RECORD.read_text("utf-8"))
    assert list(record) == figures.figures()
    for figure, told in record.items():
        now = figures.entry(figure)
        assert told["command"] == now["command"]
        assert told["figure"] == now["figure"], f"{figure} is another one"
        changed = told.get("since", {"script": told["script"], "changes": "nothing"})
        assert changed["script"] == now["script"], f"the script of {figure} has changed"
        assert changed["changes"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_figure_is_finished_in_the_cell_that_begins_it(path):
    """The gallery shows a figure as it is at the end of a cell, and then closes it."""
    cells = path.read_text().split("\n# %%\n")
    begun = [i for i, cell in enumerate(cells) if "= plt.subplots(" in cell]
    assert len(begun) == 1
    drawn_on = re.findall(r"^(.*) = plt.subplots\(", cells[begun[0]], re.MULTILINE)
    names = set(re.findall(r"\w+", drawn_on[0])) - {"fig"}
    for cell in cells[begun[0] + 1 :]:
        code = re.sub(r"^#.*$", "", cell, flags=re.MULTILINE)
        assert names & set(re.findall(r"\w+", code)) == set()
        assert set(re.findall(r"\bfig\.(\w+)", code)) <= {"savefig"}


def test_scripts_of_every_run_are_there():
    assert {path.stem for path in EXAMPLES + BENCHMARKS} >= EVERY_RUN


@scripts(EXAMPLES)
def test_examples_run(path, monkeypatch, tmp_path):
    copy, text = tmp_path / path.name, path.read_text()
    if "ODENET_ROUNDS" not in os.environ:
        for long, short in SHORTER.get(path.stem, {}).items():
            assert long in text
            text = text.replace(long, short)
    copy.write_text(text)
    monkeypatch.setattr(sys, "argv", [str(copy)])
    runpy.run_path(str(copy), run_name="__main__")
    assert copy.with_suffix(".png").stat().st_size > 10_000


def run_as_main(path, arguments, errors):
    """Run a script as the main module of this process, and write down its errors."""
    torch.set_num_threads(1)  # as in all tests
    sys.argv, sys.path = [str(path), *arguments], [str(path.parent), *sys.path]
    sys.modules["__main__"] = main = ModuleType("__main__")
    main.__file__ = str(path)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    exec(compile(path.read_text(), str(path), "exec"), vars(main))


def run_in_a_fork(path, arguments, errors):
    """Run a script in a process of its own, without the seconds of the imports.

    It is a fork of a process that has imported what the scripts share, and has computed
    nothing; where there are no forks it is a new process. Returns the exit status.
    """
    has_forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if has_forks else "spawn")
    context.set_forkserver_preload(["odenet", "matplotlib.pyplot", __name__])
    process = context.Process(target=run_as_main, args=(path, arguments, errors))
    process.start()
    process.join()
    return process.exitcode


@scripts(BENCHMARKS)
def test_benchmarks_run(path, tmp_path):
    """The few of every run by the command that the documents name."""
    arguments, errors = ["--quick", "--json", str(tmp_path / "x.json")], tmp_path / "e"
    if path.stem in EVERY_RUN:
        command = [sys.executable, str(path), *arguments]
        with open(errors, "w") as file:
            status = subprocess.run(command, stderr=file, check=False).returncode
    else:
        status = run_in_a_fork(path, arguments, errors)
    assert status == 0, errors.read_text()
    assert (tmp_path / "x.json").stat().st_size > 10
