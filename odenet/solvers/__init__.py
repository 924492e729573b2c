"""Solvers say how a network is trained: small objects that carry their settings.

The solver "auto" of an estimator is :class:`Flow` for up to 500 distinct training
samples or if a ``flow_time`` is given. Otherwise it is :class:`SOAP` for the squared
error, and for more than 20,000 samples of classes, and :class:`AdamW` for the rest.
"""

from odenet.solvers._adamw import AdamW
from odenet.solvers._flow import Flow
from odenet.solvers._gradient_descent import GradientDescent
from odenet.solvers._registry import SOLVERS, resolve_solver
from odenet.solvers._sgd import SGD
from odenet.solvers._soap import SOAP

__all__ = [
    "SGD",
    "SOAP",
    "SOLVERS",
    "AdamW",
    "Flow",
    "GradientDescent",
    "resolve_solver",
]
