"""The page "Play with depth" computes what the package does, and works in a browser."""

import base64
import copy
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = DOCS / "_play" / "make_weights.py"
DEPTHS = [1, 2, 7, 31, 32, 33, 100, 256]
# The first two points are far from what was learned.
POINTS = [[3.1, -3.1], [-3.0, 0.1], [0.0, 0.0], [0.7, -1.2], [-1.6, 0.4], [1.1, 1.9]]
BAD = ("error", "warning")  # messages of a console
TOLERANCE = 1e-4  # of a probability: the package evaluates layers in float32


@pytest.fixture(scope="module")
def script():
    """The names of the script that makes the weights."""
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def shipped():
    return json.loads((DOCS / "_play" / "weights.json").read_text())


@pytest.fixture(scope="module")
def trained(script):
    return {name: script["fitted"](init) for name, init in script["STARTS"].items()}


def unpacked(network, name, shape):
    raw = base64.b64decode(network[name])
    return np.frombuffer(raw, "<f4").reshape(shape)


@pytest.fixture(scope="module")
def models(shipped, trained):
    """Estimators with the weights of the file, whatever machine has made it."""
    models = copy.deepcopy(trained)
    for name, model in models.items():
        weights = {
            key: torch.tensor(unpacked(shipped["networks"][name], key, p.shape))
            for key, p in model.module_.named_parameters()
        }
        model.module_.load_state_dict(weights)
    return models


def shapes_of(value):
    """What a value of the file is made of, without its numbers."""
    if isinstance(value, dict):
        return {key: shapes_of(part) for key, part in value.items()}
    return len(value) if isinstance(value, list) else type(value)


def test_the_file_is_what_the_script_makes(script, shipped, trained):
    """Other machines end with other last digits, which a training can enlarge."""
    made = json.loads(json.dumps(script["contents"](trained)))
    assert shapes_of(made) == shapes_of(shipped)
    for name in ("made_by", "depth", "width", "state_dim", "n_classes", "y"):
        assert made[name] == shipped[name]
    np.testing.assert_allclose(made["X"], shipped["X"], atol=1.1e-4)
    assert (DOCS.parent / made["made_by"]) == SCRIPT
    for name, network in made["networks"].items():
        for part in ("V", "W", "embedding", "head"):
            of_file = unpacked(shipped["networks"][name], part, -1)
            np.testing.assert_allclose(unpacked(network, part, -1), of_file, atol=0.02)
        assert network["temperature"] == shipped["networks"][name]["temperature"]
    assert (DOCS / "_play" / "weights.json").stat().st_size < 300_000


def test_the_file_predicts_as_the_script_does(trained, models):
    for name, model in models.items():
        for depth in (8, 32, 64):
            found = model.with_depth(depth).predict_proba(POINTS)
            expected = trained[name].with_depth(depth).predict_proba(POINTS)
            np.testing.assert_allclose(found, expected, atol=0.02)


def test_the_table_of_the_page(script, shipped, models):
    rows = re.findall(
        r"^\| (\d+) \| ([\d.]+) % \| ([\d.]+) % \|$",
        (DOCS / "play.md").read_text(),
        re.MULTILINE,
    )
    assert [int(depth) for depth, *_ in rows] == list(script["DEPTHS"])
    X, y = np.array(shipped["X"]), np.array(shipped["y"])
    for depth, *told in rows:
        for share, model in zip(told, models.values(), strict=True):
            score = model.with_depth(int(depth)).score(X, y)
            assert float(share) == pytest.approx(100 * score, abs=0.051)


def test_the_page_says_what_is_seen(models, shipped):
    """The smooth network hardly notices a layer more, the other one does."""
    X, y = np.array(shipped["X"]), np.array(shipped["y"])
    smooth, rough = (
        [model.with_depth(depth).score(X, y) for depth in (32, 33, 256)]
        for model in models.values()
    )
    assert min(smooth) > 0.99
    assert rough[0] > 0.99
    assert max(rough[1:]) < 0.96


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_of_the_page_predicts_as_the_package(models):
    program = (
        "const [code, data, depths, points] = process.argv.slice(1);"
        "const { withDepth, probabilities } = require(code)(require(data));"
        "const of = (name) => JSON.parse(depths).map((L) => JSON.parse(points).map("
        "(x) => [...probabilities(withDepth(name, L), x)]));"
        "console.log(JSON.stringify({ smooth: of('smooth'),"
        " independent: of('independent') }));"
    )
    files = DOCS / "_static" / "play.js", DOCS / "_play" / "weights.json"
    arguments = [*map(str, files), json.dumps(DEPTHS), json.dumps(POINTS)]
    command = ["node", "-e", program, *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    check_predictions(json.loads(output), models)


def check_predictions(found, models):
    """Compare probabilities, (n_depths, n, 3) by network, with those of the package."""
    for name, model in models.items():
        for depth, p in zip(DEPTHS, found[name], strict=True):
            expected = model.with_depth(depth).predict_proba(POINTS)
            np.testing.assert_allclose(p, expected, atol=TOLERANCE, err_msg=f"{depth}")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the page, in a site built anew."""
    pytest.importorskip("sphinx_gallery", reason="needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html"]
    subprocess.run([*command, str(DOCS), str(folder)], check=True)
    return (folder / "play.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window: that of the system, or else playwright's own."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs the extra `browser`"
    )
    names = ("chromium", "chromium-browser", "google-chrome")
    found = filter(None, map(shutil.which, names))
    # Chromium refuses to confine itself if root starts it, as in containers.
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=next(found, None),
                args=["--no-sandbox"] if is_root else [],
            )
        except sync_api.Error as error:
            pytest.skip(f"needs Chromium: {error}")
        yield browser
        browser.close()


@pytest.fixture
def page(browser, site):
    """The page in a window of its own, which must stay without errors and alone."""
    page = browser.new_page(color_scheme="light")
    errors, requests = [], []
    page.on("console", lambda m: errors.append(m.text) if m.type in BAD else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(site)
    wait_for(page, 32)
    yield page
    page.close()
    # The theme complains to itself on a first visit that no choice is stored yet.
    assert [e for e in errors if "Got invalid theme mode" not in e] == []
    home = site.rsplit("/", 1)[0]
    assert len(requests) > 3
    assert [u for u in requests if not u.startswith((home, "data:"))] == []


def wait_for(page, depth):
    """Wait until everything is drawn at a depth."""
    page.wait_for_selector(f'#play[data-state="ready"][data-depth="{depth}"]')


def drawn(page):
    """The pictures of the page, as text."""
    return page.eval_on_selector_all("canvas", "all => all.map((c) => c.toDataURL())")


@pytest.mark.browser
def test_the_page_predicts_as_the_package(page, models):
    found = {
        name: page.evaluate(
            "([name, depths, points]) =>"
            " depths.map((L) => odenetPlay.predict(name, L, points))",
            [name, DEPTHS, POINTS],
        )
        for name in models
    }
    check_predictions(found, models)


@pytest.mark.browser
def test_the_slider_moves_by_keyboard(page):
    slider = page.get_by_label("Number of layers", exact=True)
    slider.focus()
    for key, depth in [
        ("ArrowRight", 33),
        ("ArrowLeft", 32),
        ("ArrowDown", 31),
        ("Home", 1),
        ("End", 256),
    ]:
        slider.press(key)
        wait_for(page, depth)
        text = "1 layer" if depth == 1 else f"{depth} layers"
        assert slider.get_attribute("aria-valuetext") == text
        assert page.get_by_role("status").inner_text().startswith(f"{text}. Smooth")
        assert page.locator("#play-depth").input_value() == str(depth)


@pytest.mark.browser
def test_the_slider_moves_by_mouse(page):
    before = drawn(page)
    box = page.locator("#play-slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, middle, steps=5)
    page.mouse.up()
    wait_for(page, 256)
    assert all(a != b for a, b in zip(before, drawn(page), strict=True))
    page.get_by_role("button", name="8 layers", exact=True).click()
    wait_for(page, 8)
    page.get_by_label("Number of layers, from 1 to 256").fill("57")  # no stop of slider
    wait_for(page, 57)


@pytest.mark.browser
def test_the_page_tells_the_accuracy_that_the_package_has(page, models, shipped):
    page.get_by_role("button", name="33 layers").click()
    wait_for(page, 33)
    told = re.findall(r"([\d.]+) % of new", page.get_by_role("status").inner_text())
    X, y = shipped["X"], shipped["y"]
    scores = [model.with_depth(33).score(X, y) for model in models.values()]
    assert told == [f"{100 * score:.1f}" for score in scores]
    maps = page.get_by_role("img", name="Map of the answers")
    assert maps.count() == 2
    assert f"{told[1]} % right" in maps.nth(1).get_attribute("aria-label")


@pytest.mark.browser
def test_themes_have_pictures_and_contrasts_of_their_own(page):
    light = drawn(page)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(
        "old => document.querySelector('canvas').toDataURL() !== old", arg=light[0]
    )
    for theme in ("dark", "light"):
        page.evaluate("t => { document.documentElement.dataset.theme = t }", theme)
        for selector in ("#play-depth", ".play-presets button", ".play-numbers"):
            assert contrast(page, selector) > 7  # WCAG 2, level AAA of small text


def contrast(page, selector):
    """The ratio of luminances of text and ground, by WCAG 2."""
    colors = page.eval_on_selector(
        selector,
        """e => {
          const ink = getComputedStyle(e).color;
          const isClear = (c) => /rgba\\(.*, 0\\)|transparent/.test(c);
          while (isClear(getComputedStyle(e).backgroundColor)) e = e.parentElement;
          return [ink, getComputedStyle(e).backgroundColor];
        }""",
    )
    shades = []
    for color in colors:
        rgb = np.array([float(v) for v in re.findall(r"[\d.]+", color)[:3]]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        shades.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(shades) / min(shades)


@pytest.mark.browser
def test_points_walk_if_the_reader_likes_motion(page):
    before = drawn(page)
    page.get_by_role("button", name="Let the points walk").click()
    page.wait_for_function(
        "old => document.querySelector('.play-paths').toDataURL() !== old",
        arg=before[1],
    )
    page.wait_for_function(
        "old => document.querySelector('.play-paths').toDataURL() === old",
        arg=before[1],
    )
    page.emulate_media(reduced_motion="reduce")
    assert not page.locator("#play-walk").is_visible()


@pytest.mark.browser
def test_the_film_of_the_first_page_stands_still_for_those_who_ask(page, site):
    page.emulate_media(reduced_motion="no-preference")
    page.goto(site.replace("play.html", "index.html"))
    film = 'img[src$=".gif"]'
    shown = "e => getComputedStyle(e).content"
    assert page.eval_on_selector(film, shown) == "normal"
    page.emulate_media(reduced_motion="reduce")
    still = re.search(r'"(.*)"', page.eval_on_selector(film, shown))[1]
    assert still.endswith("/plot_training_animated.png")
    with page.expect_response(still) as response:
        page.reload()
    assert response.value.ok
    assert page.locator(film).get_attribute("alt")


@pytest.mark.browser
def test_a_phone_needs_no_scrolling_sideways(page):
    page.set_viewport_size({"width": 390, "height": 844})
    rights = page.eval_on_selector_all(
        "#play *", "all => all.map((e) => e.getBoundingClientRect().right)"
    )
    assert len(rights) > 20
    assert max(rights) <= 390
    page.locator(".play-paths").first.evaluate("e => e.scrollIntoView()")
    page.wait_for_timeout(500)  # the theme scrolls smoothly
    assert page.evaluate("window.scrollY") > 300
    button = page.get_by_role("button", name="256 layers")
    assert (
        button.evaluate("e => e.getBoundingClientRect().top") > 0
    )  # is still in sight
    button.click()
    wait_for(page, 256)
