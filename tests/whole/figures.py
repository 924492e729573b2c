"""Which script drew which figure, and when.

    python tests/whole/figures.py examples/plot_displays.png

writes into figures.json, beside this file, that the figures named were drawn today by
their scripts as they are; ``tests/whole/test_docs.py`` fails if the code of a script
has changed since, or if a figure is another one. An entry has

- "command", which draws the figure, and "drawn", the day;
- "figure", the hash of the figure, and "script", that of the code which drew it,
  without comments and docstrings;
- where the code has changed, and the figure has not: "since", with the hash of the code
  now and what has changed, for the reader to judge.
"""

import ast
import hashlib
import io
import json
import sys
import tokenize
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_suffix(".json")
FOLDERS = ("examples", "benchmarks/paper")
OPTIONS = {"examples": "", "benchmarks/paper": " --json FILE --png FILE"}
DIGITS = 16  # of a hash: no two of so few are the same by chance


def hashed(content):
    """The beginning of a hash of bytes."""
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def code_of(source):
    """The lines of a script that compute, without docstrings, comments and gaps.

    It is a part of the text, which no version of Python reads differently.
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        holds_docstring = ast.Module | ast.ClassDef | ast.FunctionDef
        if isinstance(node, holds_docstring) and ast.get_docstring(node) is not None:
            first, last = node.body[0].lineno, node.body[0].end_lineno
            lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def fingerprint(source):
    """A hash of the code of a script."""
    return hashed(code_of(source).encode())


def figures():
    """All figures that a script of their name draws."""
    paths = (path for name in FOLDERS for path in (ROOT / name).glob("*.png"))
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def entry(figure):
    """What is to be recorded of a figure that was just drawn."""
    path = ROOT / figure
    script = path.with_suffix(".py")
    folder = Path(figure).parent.as_posix()
    return {
        "command": f"python {folder}/{script.name}{OPTIONS[folder]}",
        "drawn": date.today().isoformat(),
        "figure": hashed(path.read_bytes()),
        "script": fingerprint(script.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    for argument in sys.argv[1:]:
        name = Path(argument).resolve().relative_to(ROOT).as_posix()
        record[name] = entry(name)
    text = json.dumps(record, indent=1, sort_keys=True)
    RECORD.write_text(text + "\n", encoding="utf-8")
