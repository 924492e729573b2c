"""The profiles are entries of the weights, at the depth times of their layers."""

import numpy as np
import pytest
from matplotlib import pyplot

from odenet import WeightProfileDisplay


def test_two_axes_are_those_of_the_two_weights(classifier):
    figure, axes = pyplot.subplots(2, 1)
    display = WeightProfileDisplay.from_estimator(classifier, ax=axes)
    assert list(display.ax_) == list(axes)
    assert display.figure_ is figure


def test_profiles_are_the_weights(classifier):
    display = WeightProfileDisplay.from_estimator(
        classifier, entries={"V": [(0, 1)], "W": [(2, 0), (3, 1)]}
    )
    V = classifier.module_.V.detach().cpu().numpy()
    np.testing.assert_array_equal(display.profiles["L = 32"]["V"][:, 0], V[:, 0, 1])
    line = display.ax_[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), (np.arange(32) + 0.5) / 32)
    assert len(display.ax_[1].lines) == 2


def test_the_entries_drawn_are_those_that_vary_most(classifier):
    display = WeightProfileDisplay.from_estimator(classifier, entries=3)
    ranges = np.ptp(classifier.module_.V.detach().cpu().numpy(), axis=0)
    drawn = [ranges[index] for index in display.entries["V"]]
    np.testing.assert_array_equal(drawn, np.sort(ranges, axis=None)[:-4:-1])


def test_several_networks_are_told_apart(classifier, luminance):
    networks = {f"L = {L}": classifier.with_depth(L) for L in (4, 8)}
    display = WeightProfileDisplay.from_networks(networks, entries=1)
    labels = [text.get_text() for text in display.ax_[1].get_legend().get_texts()]
    assert labels == ["L = 4", "L = 8"]
    shades = [luminance(line.get_color()) for line in display.ax_[0].lines]
    assert np.diff(shades) > 0.1


def test_an_entry_that_is_not_there_is_named(classifier):
    q, m = classifier.module_.V.shape[1:]
    for index in ((q, 0), (0, m), (0, -1), (0,)):
        with pytest.raises(ValueError, match=r"indices of V, of shape \(.*got \("):
            WeightProfileDisplay.from_estimator(
                classifier, entries={"V": [index], "W": []}
            )
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


def test_the_frame_tells_network_entry_and_layer_of_every_value(classifier):
    entries = {"V": [(0, 1)], "W": [(2, 0), (3, 1)]}
    shallow = classifier.with_depth(4)
    networks = {"deep": classifier, "shallow": shallow}
    frame = WeightProfileDisplay.from_networks(networks, entries=entries).frame()
    assert len(frame) == 3 * (32 + 4)
    rows = frame[(frame["network"] == "shallow") & (frame["entry"] == "(3, 1)")]
    W = shallow.module_.W.detach().cpu().numpy()
    np.testing.assert_array_equal(rows["value"], W[:, 3, 1])
    np.testing.assert_array_equal(rows["depth_time"], [0.125, 0.375, 0.625, 0.875])
    assert set(rows["weight"]) == {"W"}


def test_images_have_profiles(images):
    profiles = WeightProfileDisplay.from_estimator(images, entries=1).profiles
    assert profiles["L = 4"]["W"].shape == (4, 1)


def test_layers_have_dots_where_there_are_few(classifier):
    for depth, marker in [(16, "."), (32, "None")]:
        network = classifier.module_.with_depth(depth)
        line = WeightProfileDisplay.from_estimator(network).ax_[0].lines[0]
        assert (line.get_marker() or "None") == marker


def test_entries_of_one_network_have_labels_and_styles_of_their_own(classifier):
    display = WeightProfileDisplay.from_estimator(classifier, entries=3)
    for name, axes in zip("VW", display.ax_, strict=True):
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == [f"{name}{list(index)}" for index in display.entries[name]]
        assert len({line.get_linestyle() for line in axes.lines}) == 3
        assert axes.get_title() == f"3 entries of {name}, L = 32"


def test_every_network_is_named_once_however_many_entries_it_has(classifier):
    networks = {"a": classifier, "b": classifier.with_depth(4)}
    display = WeightProfileDisplay.from_networks(networks, entries=3)
    labels = [text.get_text() for text in display.ax_[1].get_legend().get_texts()]
    assert labels == ["a", "b"]
    assert display.ax_[0].get_legend() is None
    assert display.ax_[0].get_title() == "3 entries of V"
