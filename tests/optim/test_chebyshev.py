from math import exp

import numpy as np
import pytest

from odenet._optim.chebyshev import chebyshev, stages_for

ALL_STAGES = range(2, 101)


@pytest.mark.parametrize("n_stages", ALL_STAGES)
def test_stability_polynomial_is_bounded_by_one_on_its_interval(n_stages):
    method = chebyshev(n_stages)
    z = -np.linspace(0, method.stability_length, 20 * n_stages)
    assert np.abs(method.stability_polynomial(z)).max() <= 1 + 1e-9


@pytest.mark.parametrize("n_stages", ALL_STAGES)
def test_stability_interval_grows_with_the_square_of_the_stages(n_stages):
    method = chebyshev(n_stages)
    assert method.stability_length >= 0.65 * (n_stages**2 - 1)
    beyond = np.abs(method.stability_polynomial(-2 * method.stability_length))
    assert beyond > 1


@pytest.mark.parametrize("n_stages", ALL_STAGES)
def test_consistency_of_second_order(n_stages):
    method = chebyshev(n_stages)
    errors = [abs(method.stability_polynomial(-h) - exp(-h)) for h in (0.02, 0.01)]
    assert errors[0] < 0.02**3
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize("n_stages", ALL_STAGES)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_recurrence_gives_the_stability_polynomial(n_stages, share):
    method = chebyshev(n_stages)
    z = -share * method.stability_length
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
    assert y == pytest.approx(method.stability_polynomial(z), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("z", [1e-9, 1.0, 7.3, 100.0, 5000.0])
def test_fewest_stages_that_are_stable(z):
    n_stages = stages_for(z)
    assert chebyshev(n_stages).stability_length >= z
    assert n_stages == 2 or chebyshev(n_stages - 1).stability_length < z
