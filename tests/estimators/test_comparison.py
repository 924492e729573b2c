"""The text of a parameter is the same in another process, and of no other one."""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import KFold

from odenet._estimators.comparison import comparable_text as text_of
from odenet.schemes import GaussianProcess
from odenet.solvers import Flow

# Every line makes the same values in every process, of which no two are the same.
VALUES = """
def made(power, memory=None):
    def score(estimator, X, y):
        return -np.mean(np.abs(estimator.predict(X) - y) ** power)
    return score
def recursive():
    def again(n):
        return n and again(n - 1)
    return again
class Scorer:
    def __init__(self, power):
        self.power, self.table = power, {"a": {3, 1, 2}, "f": made(power)}
    def __call__(self, estimator, X, y):
        return self.power
class Plain:
    def __init__(self, power):
        self.power = power
    def method(self, estimator, X, y):
        return self.power
@dataclass
class Data:
    function: object
many = np.arange(5000)
values = [
    lambda e, X, y: 0.0, lambda e, X, y: -0.0, lambda e, X, y: 1, lambda e, X, y: True,
    lambda e, X, y: e.score(X, y), lambda e, X, y: e.predict(X, y),
    lambda e, X, y=1: 0.0, lambda e, X, *, y=1: 0.0, lambda e, X, *, y=2: 0.0,
    lambda e: [x for x in e], lambda e: [-x for x in e], lambda x: x in {"a", "b", "c"},
    made(1), made(2), recursive(), partial(made, 1), partial(made, 2),
    Scorer(1), Scorer(2), Plain(1), Plain(2), Plain(1).method, Plain(2).method,
    make_scorer(lambda y, p: 1), make_scorer(lambda y, p: 2),
    make_scorer(accuracy_score), lru_cache(made), lru_cache(recursive), np.mean,
    Data(made(1)), Data(made(2)), GaussianProcess(0.3), GaussianProcess(0.4),
    made(csr_array(np.eye(2))), made(csr_array(2 * np.eye(2))), made(rng(1)),
    made(rng(2)), made(RandomState(1)), made(RandomState(2)),
    many, np.where(many == 2500, 0, many), pd.DataFrame({"a": many}), [1, many],
    {"a": made(1)}, {"a": made(2)}, KFold(3), KFold(4), Flow(), len, np.exp, np.float64,
    None, "auto", 1, 1.5, [1, 2], (1, 2), np.float64(1.5), [made(1)], [made(2)],
]
"""


def values_of(code=VALUES):
    names = {
        "np": np,
        "pd": pd,
        "partial": partial,
        "lru_cache": lru_cache,
        "dataclass": dataclass,
        "make_scorer": make_scorer,
        "accuracy_score": accuracy_score,
        "GaussianProcess": GaussianProcess,
        "RandomState": np.random.RandomState,
        "csr_array": csr_array,
        "rng": np.random.default_rng,
        "KFold": KFold,
        "Flow": Flow,
        "__name__": "scores",
    }
    exec(code, names)
    return names["values"]


def test_the_texts_of_all_values_differ():
    texts = [text_of(value) for value in values_of()]
    assert len(set(texts)) == len(texts)


def test_another_process_has_the_same_texts():
    """Although sets are in another order there, and lines at other places."""
    code = (
        "from tests.estimators import test_comparison as t;"
        "print([t.text_of(v) for v in t.values_of('\\n\\n' + t.VALUES)])"
    )
    for seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert eval(out.stdout) == [text_of(value) for value in values_of()]


def test_what_cannot_be_looked_into_is_never_the_same():
    scorer = itemgetter(1)
    assert text_of(scorer) != text_of(scorer)


def test_short_texts_are_what_people_write():
    for value in ("auto", 3, 0.5, None, [1, 2], True):
        assert text_of(value) == repr(value)
    assert text_of(Flow(rtol=0.5)) == "Flow"
    assert text_of(made_here()).startswith("<function made_here.<locals>.score> ")


def made_here():
    def score(estimator, X, y):
        return 0.0

    return score
