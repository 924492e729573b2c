"""How often does control move from one file of odenet to another?

A reader who follows a call has to open that many files, over and over. Counted are
calls of Python functions of odenet in the order in which they happen: each one that is
in another file than the one before is a move. Returns do not count, nor do calls of
other packages. Calls in a loop count each time: the numbers grow with the depth.

    python -m tests.whole.moves  # prints the moves of a small regressor
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

import odenet
from odenet._training import fitting

FOLDER = str(Path(odenet.__file__).parent)
START_OF_TRAINING = fitting.train.__code__


class _Reached(Exception):
    """The end of the part of a call that is looked at."""


def files_called(call, until=None):
    """Return the files of odenet's functions that a call runs, in their order.

    Parameters
    ----------
    call : callable
    until : code, default=None
        The function, as a code object, where to stop.
    """
    files = []

    def trace(frame, event, argument):
        code = frame.f_code
        if event == "call" and code is until:
            raise _Reached
        if event == "call" and code.co_filename.startswith(FOLDER):
            files.append(code.co_filename.removeprefix(FOLDER))

    sys.setprofile(trace)
    try:
        call()
    except _Reached:
        pass
    finally:
        sys.setprofile(None)
    return files


def count_moves(files):
    """Count how often a file follows another one."""
    return sum(a != b for a, b in pairwise(files))


def moves_of_fit(model, X, y):
    """Count the moves from the arrays to the start of the training."""
    return count_moves(files_called(lambda: model.fit(X, y), START_OF_TRAINING))


def moves_of_predict(model, X):
    """Count the moves of predictions."""
    return count_moves(files_called(lambda: model.predict(X)))


if __name__ == "__main__":
    X = np.random.default_rng(0).normal(size=(60, 3))
    regressor = odenet.ResODERegressor(8, width=8, flow_time=1.0, random_state=0)
    print("fit, up to the training:", moves_of_fit(regressor, X, X[:, 0]))
    regressor.fit(X, X[:, 0])
    print("predict:", moves_of_predict(regressor, X))
    print("predict of the ODE:", moves_of_predict(regressor.to_ode(rtol=1e-2), X))
