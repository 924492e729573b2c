"""The displays show what the fitted estimators say, and each can be read in grey."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from odenet import (
    DepthSmoothnessDisplay,
    LossCurveDisplay,
    ResODEClassifier,
    ResODEImageClassifier,
    ResODERegressor,
    TrajectoryDisplay,
    WeightProfileDisplay,
)
from odenet._inspection.display import DARK, LIGHT, PALE
from odenet.schemes import GaussianProcess
from odenet.solvers import SGD

IRIS = load_iris(return_X_y=True)
DISPLAYS = [
    LossCurveDisplay,
    WeightProfileDisplay,
    DepthSmoothnessDisplay,
    TrajectoryDisplay,
]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def classifier():
    settings = {"width": 16, "early_stopping": True, "random_state": 0}
    return ResODEClassifier(32, **settings).fit(*IRIS)


@pytest.fixture(scope="module")
def regressor():
    settings = {"width": 16, "flow_time": 20.0, "random_state": 0}
    return ResODERegressor(16, **settings).fit(*IRIS)


@pytest.fixture(scope="module")
def images():
    X, y = load_digits(return_X_y=True)
    solver = SGD(max_epochs=2)
    model = ResODEImageClassifier(4, channels=2, solver=solver, random_state=0)
    return model.fit(X[:100], y[:100])


def draw(display, estimator, **settings):
    samples = IRIS if display is TrajectoryDisplay else ()
    return display.from_estimator(estimator, *samples, **settings)


def luminance(color):
    return np.dot(to_rgb(color), [0.299, 0.587, 0.114])


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_are_labelled_and_the_figure_is_there(display, classifier):
    drawn = draw(display, classifier)
    for axes in np.ravel(drawn.ax_):
        assert axes.get_xlabel()
        assert axes.figure is drawn.figure_
    assert np.ravel(drawn.ax_)[0].get_ylabel()


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_that_are_given_are_drawn_on(display, classifier):
    figure, ax = pyplot.subplots()
    assert draw(display, classifier, ax=ax).figure_ is figure
    assert pyplot.get_fignums() == [figure.number]


@pytest.mark.parametrize("display", DISPLAYS)
def test_axes_at_any_place_of_a_figure_do(display, classifier):
    free = pyplot.figure().add_axes((0.2, 0.2, 0.6, 0.6))
    assert draw(display, classifier, ax=free).figure_ is free.figure
    part = pyplot.figure().subfigures(1, 2)[0]
    assert draw(display, classifier, ax=part.subplots()).figure_ is part


def test_two_axes_are_those_of_the_two_weights(classifier):
    figure, axes = pyplot.subplots(2, 1)
    display = WeightProfileDisplay.from_estimator(classifier, ax=axes)
    assert list(display.ax_) == list(axes)
    assert display.figure_ is figure


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_display_can_be_drawn_again(display, classifier):
    drawn = draw(display, classifier)
    first = drawn.figure_
    assert drawn.plot() is drawn
    assert drawn.figure_ is not first


@pytest.mark.parametrize("display", DISPLAYS)
def test_the_frame_has_a_row_for_every_point(display, classifier):
    drawn = draw(display, classifier)
    lengths = {
        LossCurveDisplay: len(classifier.net_.history),
        WeightProfileDisplay: 2 * 4 * 32,
        DepthSmoothnessDisplay: 2 * 31,
        TrajectoryDisplay: 60 * (33 + 65),
    }
    assert len(drawn.frame()) == lengths[display]


@pytest.mark.parametrize("display", DISPLAYS)
def test_what_cannot_be_drawn_is_refused_with_a_remedy(display, classifier):
    with pytest.raises(NotFittedError):
        draw(display, ResODEClassifier())
    pipeline = make_pipeline(StandardScaler(), classifier)
    with pytest.raises(TypeError, match=r"got Pipeline: pass its last step"):
        draw(display, pipeline)
    search = GridSearchCV(classifier, {})
    search.best_estimator_ = classifier
    with pytest.raises(TypeError, match="best_estimator_"):
        draw(display, search)
    with pytest.raises(TypeError, match="got StandardScaler"):
        draw(display, StandardScaler())


def test_colours_can_be_told_apart_in_grey():
    shades = sorted(map(luminance, (DARK, LIGHT, PALE)))
    assert np.diff(shades).min() > 0.1


def test_curves_that_are_labelled_differ_in_more_than_colour(classifier):
    lines = LossCurveDisplay.from_estimator(classifier).lines_
    assert len({line.get_linestyle() for line in lines}) == len(lines) == 3


def test_the_losses_drawn_are_the_fitted_curves(classifier):
    display = LossCurveDisplay.from_estimator(classifier)
    of_choice, held_out, of_fit = (line.get_ydata() for line in display.lines_)
    np.testing.assert_array_equal(of_fit, classifier.loss_curve_)
    np.testing.assert_array_equal(held_out, classifier.validation_loss_curve_)
    assert len(of_choice) == len(held_out)
    times = display.lines_[1].get_xdata()
    np.testing.assert_array_equal(times, classifier.validation_flow_times_)
    assert display.lines_[2].get_xdata()[-1] == classifier.flow_time_


@pytest.mark.parametrize("x", ["n_grad_evals", "seconds", "epoch"])
def test_costs_are_summed_over_all_trainings(x, classifier):
    display = LossCurveDisplay.from_estimator(classifier, x=x)
    before, after = (display.lines_[i].get_xdata() for i in (0, 2))
    assert (np.diff([*before, *after]) > 0).all()
    if x == "n_grad_evals":
        assert after[-1] == classifier.n_grad_evals_


def test_every_depth_is_marked_where_it_begins(classifier):
    display = LossCurveDisplay.from_estimator(classifier)
    marks = [text.get_text() for text in display.ax_.texts]
    fits = [row for row in classifier.depth_path_ if row["role"] == "fit"]
    assert marks == [f"L = {row['depth']}" for row in fits]
    begun = [line.get_xdata()[0] for line in display.ax_.lines[3:]]
    assert begun == pytest.approx([row["flow_time"] for row in fits[1:]])


def test_mini_batches_have_epochs_but_no_flow_time(images):
    display = LossCurveDisplay.from_estimator(images)
    assert display.x == "epoch"
    frame = display.frame()
    assert frame["n_grad_evals"].iloc[-1] == images.n_grad_evals_
    with pytest.raises(ValueError, match=r"`x` must be one of .* got 'flow_time'"):
        LossCurveDisplay.from_estimator(images, x="flow_time")


def test_the_loss_is_named_with_its_unit(classifier, regressor):
    nats = LossCurveDisplay.from_estimator(classifier).ax_.get_ylabel()
    squares = LossCurveDisplay.from_estimator(regressor).ax_.get_ylabel()
    assert nats == "cross-entropy (nats)"
    assert squares == "squared error of standardised targets"


def test_profiles_are_the_weights(classifier):
    display = WeightProfileDisplay.from_estimator(
        classifier, entries={"V": [(0, 1)], "W": [(2, 0), (3, 1)]}
    )
    V = classifier.module_.V.detach().numpy()
    np.testing.assert_array_equal(display.profiles["L = 32"]["V"][:, 0], V[:, 0, 1])
    line = display.ax_[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), (np.arange(32) + 0.5) / 32)
    assert len(display.ax_[1].lines) == 2


def test_the_entries_drawn_are_those_that_vary_most(classifier):
    display = WeightProfileDisplay.from_estimator(classifier, entries=3)
    ranges = np.ptp(classifier.module_.V.detach().numpy(), axis=0)
    drawn = [ranges[index] for index in display.entries["V"]]
    np.testing.assert_array_equal(drawn, np.sort(ranges, axis=None)[:-4:-1])


def test_several_networks_are_told_apart(classifier):
    networks = {f"L = {L}": classifier.with_depth(L) for L in (4, 8)}
    display = WeightProfileDisplay.from_networks(networks, entries=1)
    labels = [text.get_text() for text in display.ax_[1].get_legend().get_texts()]
    assert labels == ["L = 4", "L = 8"]
    shades = [luminance(line.get_color()) for line in display.ax_[0].lines]
    assert np.diff(shades) > 0.1


@pytest.mark.parametrize("index", [(99, 0), (0, -1), (0,)])
def test_an_entry_that_is_not_there_is_named(index, classifier):
    with pytest.raises(ValueError, match=r"indices of V, of shape \(.*got \("):
        WeightProfileDisplay.from_estimator(classifier, entries={"V": [index], "W": []})
    with pytest.raises(ValueError, match="must hold a network"):
        WeightProfileDisplay.from_networks({})


@pytest.mark.parametrize("entries", [0, -1, 1.5])
def test_a_number_of_entries_must_be_positive(entries, classifier):
    with pytest.raises(ValueError, match=f"positive integer.*got {entries}"):
        WeightProfileDisplay.from_estimator(classifier, entries=entries)


def test_entries_of_one_weight_alone(classifier):
    display = WeightProfileDisplay.from_estimator(classifier, entries={"V": [(0, 0)]})
    assert len(display.ax_[0].lines) == 1
    assert len(display.ax_[1].lines) == 0
    assert set(display.frame()["weight"]) == {"V"}


def test_the_largest_rate_is_the_lipschitz_constant(classifier):
    display = DepthSmoothnessDisplay.from_estimator(classifier)
    largest = max(rates.max() for rates in display.rates.values())
    assert largest == classifier.depth_smoothness_.lipschitz
    ratio = classifier.depth_smoothness_.von_neumann_ratio
    assert f"{ratio:.2g}" in display.ax_.get_title()


def test_the_reference_is_what_layers_in_random_order_have(classifier, rng):
    display = DepthSmoothnessDisplay.from_estimator(classifier)
    for name in ("V", "W"):
        Z = getattr(classifier.module_, name).detach().double().numpy()
        squares = [
            np.square(np.diff(rng.permutation(Z), axis=0)).sum(axis=(1, 2)).mean()
            for _ in range(300)
        ]
        rate = 32 * np.sqrt(np.mean(squares))
        assert display.shuffled[name] == pytest.approx(rate, rel=0.02)


def test_independent_layers_are_on_their_reference():
    scheme = GaussianProcess(length_scale=0.02, draws_V=True)
    settings = {"init": scheme, "flow_time": 0.1, "random_state": 0, "width": 16}
    model = ResODERegressor(16, **settings).fit(*IRIS)
    display = DepthSmoothnessDisplay.from_estimator(model)
    for name, rates in display.rates.items():
        assert np.sqrt(np.mean(rates**2)) == pytest.approx(
            display.shuffled[name], rel=0.1
        )


def test_one_layer_has_no_steps(classifier):
    with pytest.raises(ValueError, match="one layer"):
        DepthSmoothnessDisplay.from_estimator(classifier.with_depth(1))


def test_layers_without_any_step_are_drawn_on_a_linear_scale(regressor):
    network = regressor.module_.with_depth(4)
    network.set_weights({"W": network.W.mean(dim=0, keepdim=True).expand_as(network.W)})
    display = DepthSmoothnessDisplay.from_estimator(network)
    assert display.ax_.get_yscale() == "linear"


def test_the_network_stays_beside_its_ode(classifier):
    display = TrajectoryDisplay.from_estimator(classifier, *IRIS, random_state=0)
    of_ode = display.trajectories[::2]  # at s = k/32
    way = np.linalg.norm(display.states[-1] - display.states[0], axis=1).mean()
    distance = np.linalg.norm(display.states - of_ode, axis=2).max()
    assert 0 < distance < 0.1 * way


def test_states_are_drawn_in_their_first_two_principal_components(classifier):
    display = TrajectoryDisplay.from_estimator(classifier, *IRIS, n_samples=150)
    H = classifier.hidden_states(IRIS[0]).reshape(-1, classifier.module_.state_dim)
    variances = np.linalg.svd(H - H.mean(axis=0), compute_uv=False)[:2] ** 2
    drawn = display.states.reshape(-1, 2).var(axis=0) * len(H)
    np.testing.assert_allclose(drawn, variances)


def test_classes_have_markers_and_targets_a_colour_bar(classifier, regressor):
    labels = np.array(["a", "b", "c"])[IRIS[1]]
    display = TrajectoryDisplay.from_estimator(classifier, IRIS[0], labels)
    texts = display.ax_.get_legend().get_texts()
    assert [text.get_text() for text in texts] == ["a", "b", "c"]
    display = TrajectoryDisplay.from_estimator(regressor, *IRIS)
    assert display.figure_.axes[-1].get_ylabel() == "target y"


def test_targets_must_be_as_many_as_samples(classifier):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        TrajectoryDisplay.from_estimator(classifier, IRIS[0], IRIS[1][:10])


def test_states_of_one_dimension_are_refused():
    model = ResODERegressor(2, width=4, state_dim=1, flow_time=0.5).fit(*IRIS)
    with pytest.raises(ValueError, match="one dimension"):
        TrajectoryDisplay.from_estimator(model, *IRIS)


def test_without_targets_the_predictions_are_shown(regressor):
    display = TrajectoryDisplay.from_estimator(regressor, IRIS[0][:5])
    np.testing.assert_array_equal(display.y, regressor.predict(IRIS[0][:5]))


def test_images_have_states_but_no_ode(images):
    X, y = load_digits(return_X_y=True)
    display = TrajectoryDisplay.from_estimator(images, X[:20], y[:20])
    assert display.trajectories is None
    assert set(display.frame()["model"]) == {"network"}
    profiles = WeightProfileDisplay.from_estimator(images, entries=1).profiles
    assert profiles["L = 4"]["W"].shape == (4, 1)
    assert DepthSmoothnessDisplay.from_estimator(images).ax_.lines
