"""A report of a bug tells what is installed, and what torch computes on."""

import re
import tomllib
from pathlib import Path

import pytest
import torch

import odenet
from odenet._utils.versions import show_versions

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
# Extras whose packages a fitted model can meet; others serve tests and documents.
OF_USERS = ("plot", "onnx")


def printed(capsys):
    """What is printed, as a dict: the last fact of each name."""
    show_versions()
    return dict(re.findall(r"^ *([\w ]+): (.*)$", capsys.readouterr().out, re.M))


def test_versions_are_those_of_the_modules(capsys):
    facts = printed(capsys)
    assert facts["odenet"] == odenet.__version__
    assert facts["torch"] == torch.__version__
    assert Path(facts["folder"]) == Path(odenet.__file__).parent
    assert facts["threads"] == str(torch.get_num_threads())
    assert facts["CUDA build"] == str(torch.version.cuda)
    assert facts["devices"].startswith("cpu")


def test_every_dependency_is_told(capsys):
    if not PROJECT.exists():
        pytest.skip("needs a clone of the repository")
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    needed = sum((extras[name] for name in OF_USERS), project["dependencies"])
    names = {re.match(r"[\w-]+", text)[0] for text in needed}
    assert {name.replace("scikit-learn", "sklearn") for name in names} <= set(
        printed(capsys)
    )


def test_a_package_that_is_missing_is_none(capsys, monkeypatch):
    monkeypatch.setattr("odenet._utils.versions.OPTIONAL", ("of-nobody",))
    show_versions()
    assert "of-nobody: None" in capsys.readouterr().out


def test_every_device_is_named(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", "Card {}".format)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert printed(capsys)["devices"] == "cpu, Card 0, Card 1"
