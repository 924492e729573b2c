"""The progress bar of a training."""

from math import inf

import pytest
import tqdm
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning

from odenet import ResODERegressor
from odenet._search import path_search
from odenet._training.callbacks import progress_bar
from odenet.solvers import AdamW, Flow

X, y = make_friedman1(250, random_state=0)


def shown(capsys, **settings):
    settings = {"early_stopping": False, "random_state": 0, "width": 8, **settings}
    model = ResODERegressor(8, verbose=1, **settings).fit(X, y)
    assert model.stop_reason_  # It holds the bar, which is closed all the same.
    return capsys.readouterr().err


def test_a_flow_has_a_bar_over_its_time(capsys):
    bar = shown(capsys, flow_time=2.0)
    assert "training 100%" in bar
    assert "2/2 t" in bar
    assert "L=8" in bar
    assert "loss=" in bar
    assert "Lip=" in bar
    assert bar.endswith("\n")
    assert "valid=" not in bar


def test_a_flow_without_a_horizon_shows_how_far_it_is(capsys):
    solver = Flow(method="exponential", max_evals=30)
    with pytest.warns(ConvergenceWarning, match="max_evals"):
        bar = shown(capsys, flow_time=inf, solver=solver)
    assert "training" in bar
    assert " t [" in bar
    assert "%" not in bar


def test_mini_batches_have_one_over_their_epochs(capsys):
    bar = shown(capsys, solver=AdamW(max_epochs=3), depth_schedule=None)
    assert "3/3 epoch" in bar


def test_epochs_are_counted_anew_where_a_training_goes_on(capsys):
    model = ResODERegressor(8, verbose=1, width=8, warm_start=True, random_state=0)
    model.set_params(solver=AdamW(max_epochs=2), early_stopping=False)
    model.fit(X, y).fit(X, y)
    last = capsys.readouterr().err.rstrip().splitlines()[-1].rsplit("\r", 1)[-1]
    assert "2/2 epoch" in last


def test_choosing_a_flow_time_has_a_name_of_its_own(capsys):
    bar = shown(capsys, early_stopping=True, solver="flow", flow_time=3.0)
    assert "choosing t" in bar
    assert "training" in bar
    assert "valid=" in bar


@pytest.mark.filterwarnings("ignore:Training was interrupted")
def test_a_training_without_a_step_has_a_bar_that_ends(capsys):
    from skorch.callbacks import Callback

    class Interrupts(Callback):
        def on_epoch_begin(self, net, **kwargs):
            raise KeyboardInterrupt

    assert "training   0%" in shown(capsys, flow_time=2.0, callbacks=[Interrupts()])


def test_bars_are_of_text_in_notebooks_too():
    """The bar of tqdm.auto warns at its import where a notebook has no widgets."""
    for module in (progress_bar, path_search):
        assert module.Bar.__mro__[1] is tqdm.tqdm
