"""The trajectories are hidden states of a network and of its ODE."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_digits

from odenet import ResODEClassifier, ResODERegressor, TrajectoryDisplay


def test_the_network_stays_beside_its_ode(classifier, iris):
    display = TrajectoryDisplay.from_estimator(classifier, *iris, random_state=0)
    of_ode = display.trajectories[::2]  # at s = k/32
    way = np.linalg.norm(display.states[-1] - display.states[0], axis=1).mean()
    distance = np.linalg.norm(display.states - of_ode, axis=2).max()
    assert 0 < distance < 0.1 * way


def test_states_are_drawn_in_their_first_two_principal_components(classifier, iris):
    display = TrajectoryDisplay.from_estimator(classifier, *iris, n_samples=150)
    H = classifier.hidden_states(iris[0]).reshape(-1, classifier.module_.state_dim)
    variances = np.linalg.svd(H - H.mean(axis=0), compute_uv=False)[:2] ** 2
    drawn = display.states.reshape(-1, 2).var(axis=0) * len(H)
    np.testing.assert_allclose(drawn, variances)


def test_classes_have_markers_and_targets_a_colour_bar(classifier, regressor, iris):
    labels = np.array(["a", "b", "c"])[iris[1]]
    display = TrajectoryDisplay.from_estimator(classifier, iris[0], labels)
    texts = display.ax_.get_legend().get_texts()
    assert [text.get_text() for text in texts] == ["a", "b", "c"]
    display = TrajectoryDisplay.from_estimator(regressor, *iris)
    assert display.figure_.axes[-1].get_ylabel() == "target y"


def test_targets_must_be_as_many_as_samples(classifier, iris):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        TrajectoryDisplay.from_estimator(classifier, iris[0], iris[1][:10])


def test_states_of_one_dimension_are_refused(iris):
    model = ResODERegressor(2, width=4, state_dim=1, flow_time=0.5).fit(*iris)
    with pytest.raises(ValueError, match="one dimension"):
        TrajectoryDisplay.from_estimator(model, *iris)


def test_without_targets_the_predictions_are_shown(regressor, iris):
    display = TrajectoryDisplay.from_estimator(regressor, iris[0][:5])
    np.testing.assert_array_equal(display.y, regressor.predict(iris[0][:5]))


def test_images_have_states_but_no_ode(images):
    X, y = load_digits(return_X_y=True)
    display = TrajectoryDisplay.from_estimator(images, X[:20], y[:20])
    assert display.trajectories is None
    assert set(display.frame()["model"]) == {"network"}
    assert "neural ODE" not in display.ax_.get_title()


def test_samples_are_chosen_by_the_seed_and_keep_their_targets(classifier, iris):
    X, y = iris
    first, again, other = (
        TrajectoryDisplay.from_estimator(
            classifier, X, y, n_samples=10, random_state=seed
        )
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.states, again.states)
    assert not np.array_equal(first.states, other.states)
    chosen = np.sort(np.random.RandomState(0).permutation(150)[:10])
    np.testing.assert_array_equal(first.y, y[chosen])
    expected = in_two_components(classifier.hidden_states(X[chosen]))
    np.testing.assert_allclose(np.abs(first.states), np.abs(expected), atol=1e-9)


def in_two_components(states):
    """Project states on the first two right singular vectors, up to signs."""
    H = states.reshape(-1, states.shape[-1])
    centred = H - H.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    return (centred @ axes.T).reshape(*states.shape[:2], 2)


def test_the_frame_has_the_depth_times_and_targets_of_its_states(classifier, iris):
    X, y = iris
    X, y = X[::24], y[::24]  # of all classes
    display = TrajectoryDisplay.from_estimator(classifier, X, y)
    frame = display.frame()
    of_network = frame[frame["model"] == "network"]
    np.testing.assert_array_equal(
        of_network["depth_time"], np.repeat(np.arange(33) / 32, 7)
    )
    of_sample = of_network[of_network["sample"] == 5]
    np.testing.assert_array_equal(of_sample["component_2"], display.states[:, 5, 1])
    np.testing.assert_array_equal(frame["y"], y[frame["sample"]])
    of_ode = frame[frame["model"] == "ode"]
    assert of_ode["depth_time"].nunique() == 65


def test_the_large_dots_are_the_last_states(classifier, iris):
    X, y = iris
    display = TrajectoryDisplay.from_estimator(classifier, X[:2], y[:2])
    large = [line for line in display.ax_.lines if line.get_markersize() == 5]
    ends = np.array([np.ravel(line.get_data()) for line in large])
    np.testing.assert_allclose(ends, display.states[-1])
    small = [line for line in display.ax_.lines if line.get_markersize() == 3]
    assert [len(line.get_xdata()) for line in small] == [17, 17]


def test_of_several_targets_the_first_gives_the_colours(iris):
    X = iris[0][:40]
    model = ResODERegressor(2, width=4, flow_time=0.5, random_state=0)
    model.fit(X, X[:, :2])
    display = TrajectoryDisplay.from_estimator(model, X, X[:, :2])
    np.testing.assert_array_equal(display.y, X[:, 0])


def test_of_several_labels_the_first_gives_the_colours(iris):
    X = iris[0][:40]
    y = (X[:, :2] > X[:, :2].mean(axis=0)).astype(int)
    model = ResODEClassifier(2, width=4, flow_time=0.5, random_state=0).fit(X, y)
    for given in (y, csr_array(y)):
        display = TrajectoryDisplay.from_estimator(model, X, given, n_samples=40)
        np.testing.assert_array_equal(display.y, y[:, 0])
        assert len(display.ax_.get_legend().get_texts()) == 2
    shown = TrajectoryDisplay.from_estimator(model, X, n_samples=40).y
    np.testing.assert_array_equal(shown, model.predict(X)[:, 0])
