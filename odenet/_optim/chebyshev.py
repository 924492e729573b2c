"""Coefficients of the second-order Runge-Kutta-Chebyshev method (RKC).

Sommeijer, Shampine and Verwer, *RKC: an explicit solver for parabolic PDEs*,
J. Comput. Appl. Math. 88 (1998), 315-326, section 2.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil, sqrt

# The damping of RKC. Inside the stability interval |P_s| is at most about
# 1 - DAMPING / 3, so that stiff components decay. It costs a fiftieth of the interval's
# length.
DAMPING = 2 / 13

# The interval's length is about 2/3 (s^2 - 1) (1 - 2/15 DAMPING) (RKC, section 2). So
# s^2 - 1 is at least this multiple of the length, which it would be without damping.
STAGES_PER_LENGTH = 3 / 2


# A share that is far above the rounding of a product of two numbers, and far below what
# a step can tell: a round value.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Stage:
    """Coefficients of one stage of the three-term recurrence."""

    mu: float
    nu: float
    mu_tilde: float
    gamma_tilde: float


@dataclass(frozen=True)
class Chebyshev:
    r"""The method with s stages: its stability polynomial and its recurrence.

    The stability polynomial is :math:`P_s(z) = a_s + b_s T_s(w_0 + w_1 z)`; it is
    bounded by one for z in ``[-stability_length, 0]``.
    """

    n_stages: int
    w0: float
    w1: float
    a: tuple
    b: tuple
    stages: tuple
    times: tuple  # of all stages, the last of which is 1, in lengths of a step

    @property
    def stability_length(self):
        """The length of the stability interval on the negative real axis."""
        return (self.w0 + 1) / self.w1

    def stability_polynomial(self, z):
        """Return the factor of y in one step, for y' = z y and h = 1."""
        previous, current = 1.0, self.w0 + self.w1 * z
        for _ in range(self.n_stages - 1):
            previous, current = (
                current,
                2 * (self.w0 + self.w1 * z) * current - previous,
            )
        return self.a[-1] + self.b[-1] * current


def _chebyshev_at(x, degree):
    """Return T_j(x), T_j'(x) and T_j''(x) for j = 0..degree."""
    T, dT, d2T = [1.0, x], [0.0, 1.0], [0.0, 0.0]
    for _ in range(degree - 1):
        T.append(2 * x * T[-1] - T[-2])
        dT.append(2 * T[-2] + 2 * x * dT[-1] - dT[-2])
        d2T.append(4 * dT[-2] + 2 * x * d2T[-1] - d2T[-2])
    return T, dT, d2T


@cache
def chebyshev(n_stages):
    """Return the second-order method with ``n_stages`` stages, at least 2."""
    w0 = 1 + DAMPING / n_stages**2
    T, dT, d2T = _chebyshev_at(w0, n_stages)
    w1 = dT[-1] / d2T[-1]
    b = [d2T[j] / dT[j] ** 2 for j in range(2, n_stages + 1)]
    b = [b[0], b[0], *b]
    a = [1 - b_j * T_j for b_j, T_j in zip(b, T, strict=True)]
    stages = [Stage(mu=0.0, nu=0.0, mu_tilde=b[1] * w1, gamma_tilde=0.0)]
    for j in range(2, n_stages + 1):
        mu_tilde = 2 * b[j] * w1 / b[j - 1]
        stages.append(
            Stage(
                mu=2 * b[j] * w0 / b[j - 1],
                nu=-b[j] / b[j - 2],
                mu_tilde=mu_tilde,
                gamma_tilde=-a[j - 1] * mu_tilde,
            )
        )
    times = [stages[0].mu_tilde, *(w1 * d2T[j] / dT[j] for j in range(2, n_stages + 1))]
    return Chebyshev(n_stages, w0, w1, tuple(a), tuple(b), tuple(stages), tuple(times))


def stages_for(z):
    """Return the fewest stages whose stability interval holds ``[-z, 0]``.

    It may be shorter by a few roundings: a step as long as s stages can take gets s.
    """
    n_stages = max(2, ceil(sqrt(1 + STAGES_PER_LENGTH * z)))
    while chebyshev(n_stages).stability_length < z * (1 - ROUNDING):
        n_stages += 1
    return n_stages
