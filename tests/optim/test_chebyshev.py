from math import exp

import numpy as np
import pytest

from odenet._optim.chebyshev import chebyshev, stages_for

METHODS = [chebyshev(n_stages) for n_stages in range(2, 101)]


def test_stability_polynomial_is_bounded_by_one_on_its_interval():
    for method in METHODS:
        z = -np.linspace(0, method.stability_length, 20 * method.n_stages)
        assert np.abs(method.stability_polynomial(z)).max() <= 1 + 1e-9, method.n_stages


def test_stability_interval_grows_with_the_square_of_the_stages():
    for method in METHODS:
        assert method.stability_length >= 0.65 * (method.n_stages**2 - 1)
        beyond = np.abs(method.stability_polynomial(-2 * method.stability_length))
        assert beyond > 1, method.n_stages


def test_consistency_of_second_order():
    for method in METHODS:
        errors = [abs(method.stability_polynomial(-h) - exp(-h)) for h in (0.02, 0.01)]
        assert errors[0] < 0.02**3, method.n_stages
        assert errors[0] / errors[1] == pytest.approx(8, rel=0.1), method.n_stages


def test_damping_is_that_of_rkc():
    """Inside the interval |P| is about 1 - 2/13 / 3, and never touches one."""
    for method in METHODS[3:]:
        z = -np.linspace(4, method.stability_length - 4, 1000)
        largest = np.abs(method.stability_polynomial(z)).max()
        assert largest == pytest.approx(1 - 2 / 39, abs=0.01), method.n_stages


def by_recurrence(method, z):
    """One step of the method for y' = z y, with h = 1 and from y = 1."""
    before, y = 1.0, 1.0 + method.stages[0].mu_tilde * z
    for stage in method.stages[1:]:
        before, y = (
            y,
            (1 - stage.mu - stage.nu)
            + stage.mu * y
            + stage.nu * before
            + stage.mu_tilde * z * y
            + stage.gamma_tilde * z,
        )
    return y


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_recurrence_gives_the_stability_polynomial(share):
    for method in METHODS:
        z = -share * method.stability_length
        expected = pytest.approx(method.stability_polynomial(z), rel=1e-6, abs=1e-9)
        assert by_recurrence(method, z) == expected, method.n_stages


def test_methods_have_the_stages_that_were_asked_for():
    assert [method.n_stages for method in METHODS] == list(range(2, 101))
    assert [len(method.stages) for method in METHODS] == list(range(2, 101))


def test_fewest_stages_that_are_stable():
    for z in [1e-9, 1.0, 7.3, 100.0, 5000.0]:
        n_stages = stages_for(z)
        assert chebyshev(n_stages).stability_length >= z
        assert n_stages == 2 or chebyshev(n_stages - 1).stability_length < z
