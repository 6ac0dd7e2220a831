"""The explorer shows the weights it was given, in a real browser, and lets nothing in or out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pochi_cli.inspection.attention_record import (
    AttendedInput,
    AttentionLayer,
    Faithfulness,
    PatchGrid,
    SaliencyMap,
    Weights,
)
from pochi_cli.inspection.head_similarity import describe_heads
from pochi_cli.web.explorer import encode_weights, explorer_page
from tests.web.browser import CHROMIUM, Browser, headless

Array = NDArray[np.float64]

VIEWS = ("heatmap", "flow", "heads")
ODD = "</script><script>alert(1)</script>"
MASKED = 2
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")


def softmax(logits: Array) -> Weights:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def make_layer(
    names: tuple[str, ...], heads: int, name: str = "attention", keys: tuple[str, ...] | None = None
) -> AttentionLayer:
    keys = names if keys is None else keys
    draw = np.random.default_rng(len(names) + heads)
    return AttentionLayer(name, softmax(draw.normal(size=(1, heads, len(names), len(keys)))), names, keys)


def make_image(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(90, 110, (height, width, 3)).astype(np.uint8)


def make_vit(side: int, heads: int, layers: int, pixels: int) -> AttendedInput:
    """Logits of a standard deviation of 1 are those that compress worst."""
    grid, draw = PatchGrid(side, side, prefix=1), np.random.default_rng(1)
    size = (1, heads, grid.tokens, grid.tokens)
    made = [
        AttentionLayer(f"layers.{at}", softmax(draw.normal(size=size)), grid.names(), grid.names(), grid)
        for at in range(layers)
    ]
    return AttendedInput("cat.png", tuple(made), make_image(pixels, pixels), "cat, 90.0 %")


def make_swin() -> AttendedInput:
    """Two layers, the second with rolled windows; each query attends to the last token of its window."""
    layers = []
    for shift in (0, 2):
        grid = PatchGrid(7, 7, window=(4, 4), shift=(shift, shift))
        weights = np.zeros((4, 2, 16, 16), dtype=np.float32)
        weights[..., -1] = 1
        layers.append(AttentionLayer(f"shift{shift}", weights, grid.names(), grid.names(), grid))
    return AttendedInput("swin.png", tuple(layers), make_image(56, 70))


def make_inputs() -> list[AttendedInput]:
    """Text, Japanese text, cross attention with a masked query, images, and names that are no markup."""
    sentence = make_layer(("The", "cat", "sat", "on", "the", "mat."), 4)
    japanese = make_layer(("吾輩", "は", "猫", "で", "ある", "。"), 2)
    cross = make_layer(("eins", "zwei", "drei"), 3, keys=("one", "two", "three", "four", "five"))
    cross.weights[:, :, MASKED] = np.nan
    odd = make_layer((ODD, "a" * 120, "&amp;", "<b>"), 1, name=ODD)
    single = make_layer(("alone",), 1)
    long = make_layer(tuple(f"w{at}" for at in range(65)), 16)
    return [
        AttendedInput("The cat sat on the mat.", (sentence, replace(sentence, name="again"))),
        AttendedInput("吾輩は猫である。", (japanese,)),
        AttendedInput("cross attention", (cross,)),
        AttendedInput(ODD, (odd,), prediction=ODD),
        AttendedInput("alone", (single,)),
        AttendedInput("a long sentence " * 20, (long,)),
        make_vit(4, 2, 3, 32),
        make_swin(),
    ]


SENTENCE, JAPANESE, CROSS, NO_MARKUP, ALONE, LONG, VIT, SWIN = range(8)


def make_maps() -> list[tuple[SaliencyMap, ...]]:
    faithful = Faithfulness(0.1, 0.6, (0.3, 0.3), (0.4, 0.9))
    values = np.arange(16.0).reshape(4, 4)
    maps = (SaliencyMap("attention rollout", "", values, faithful), SaliencyMap(ODD, ODD, values * 0))
    return [maps if number == VIT else () for number in range(8)]


@pytest.fixture(scope="module")
def inputs() -> list[AttendedInput]:
    return make_inputs()


@pytest.fixture(scope="module")
def page(inputs: list[AttendedInput], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("explorer") / "attention.html"
    file.write_text(explorer_page(inputs, "Attention", make_maps()), "utf-8")
    return file


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with headless(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(running: Browser) -> Iterator[Browser]:
    """A browser; no test may make it ask for anything or log anything."""
    running.requests.clear()
    running.errors.clear()
    yield running
    assert running.requests == []
    assert running.errors == []


def bound(weights: Weights) -> Array:
    """How far what is shown may be from the weights, as the page says."""
    exact = weights.astype(np.float64)
    largest = exact.max(axis=-1, keepdims=True)
    return np.asarray(np.sqrt(exact * largest) / 255 + largest / 510**2 + 1e-12)


def shown(browser: Browser) -> Array:
    return np.array(browser.value("pochi.matrix"), dtype=np.float64)


def chosen(browser: Browser) -> dict[str, Any]:
    found: dict[str, Any] = browser.value("pochi.chosen")
    return found


def cell(browser: Browser, query: int, key: int) -> tuple[float, float]:
    """Where a cell of the heat map is, as shares of the canvas."""
    layout = browser.value("heatmapView.layout")
    width, height = browser.box("#stage")[2:]
    across = (layout["x"] + (key + 0.5) * layout["cellWidth"]) / width
    return across, (layout["y"] + (query + 0.5) * layout["cellHeight"]) / height


def patch_place(browser: Browser, grid: PatchGrid, patch: int) -> tuple[float, float]:
    """Where a patch of the picture is, as shares of the canvas."""
    layout = browser.value("pictureView.layout")
    width, height = browser.box("#stage")[2:]
    row, column = divmod(patch, grid.columns)
    across = (layout["x"] + (column + 0.5) / grid.columns * layout["width"]) / width
    return across, (layout["y"] + (row + 0.5) / grid.rows * layout["height"]) / height


def text(browser: Browser, selector: str) -> str:
    return str(browser.value(f"document.querySelector({selector!r}).textContent"))


@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0, 4.0, 30.0])
def test_a_byte_keeps_a_weight_as_exactly_as_is_said(spread: float) -> None:
    weights = softmax(spread * np.random.default_rng(0).normal(size=(2, 3, 20, 30)))
    weights[0, 1, 4] = np.nan
    weights[1, 2, 5] = 0
    content = zlib.decompress(encode_weights(weights))
    largest = np.frombuffer(content, "<f4", 120).reshape(2, 3, 20, 1).astype(np.float64)
    codes = np.frombuffer(content, np.uint8, offset=480).reshape(weights.shape)
    read = largest * (codes / 255) ** 2
    is_masked = np.isnan(weights)
    assert np.isnan(read[is_masked]).all()
    errors = np.abs(read - weights)[~is_masked]
    assert (errors <= bound(weights)[~is_masked]).all()
    assert (errors <= np.broadcast_to(largest / 255, weights.shape)[~is_masked]).all()


def test_it_stands_alone(page: Path) -> None:
    written = page.read_text("utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', written)
    (style,) = re.findall(r"<style>(.*?)</style>", written, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", written, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (script, style)]
    assert unescape(policy) == (
        f"default-src 'none'; img-src data:; script-src 'sha256-{hashes[0]}'; "
        f"style-src 'sha256-{hashes[1]}'; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"(src|href)=\"(?!data:|#)", written)
    assert "style=" not in re.sub(r"<script.*?</script>", "", written, flags=re.DOTALL)


def test_texts_from_outside_are_texts(page: Path, inputs: list[AttendedInput]) -> None:
    written = page.read_text("utf-8")
    layers = sum(len(shown.layers) for shown in inputs)
    assert written.count("<script") == written.count("</script>") == layers + 2
    assert "<!--" not in written
    (content,) = re.findall(r'id="facts">(.*?)</script>', written)
    found = json.loads(content)["inputs"][NO_MARKUP]
    assert found["name"] == found["prediction"] == found["layers"][0]["name"] == ODD
    assert found["layers"][0]["queries"] == [ODD, "a" * 120, "&amp;", "<b>"]


def test_entropies_are_those_of_the_weights(page: Path, inputs: list[AttendedInput]) -> None:
    (content,) = re.findall(r'id="facts">(.*?)</script>', page.read_text("utf-8"))
    for number in (SENTENCE, CROSS, VIT):
        told = [head["entropy"] for head in json.loads(content)["inputs"][number]["layers"][0]["heads"]]
        assert told == [facts.entropy for facts in describe_heads(inputs[number].layers[0])]


def test_a_layer_with_every_query_masked_has_no_facts() -> None:
    layer = make_layer(("a", "b"), 2)
    layer.weights[:] = np.nan
    written = explorer_page([AttendedInput("masked", (layer,))], "Masked")
    assert '"heads": null' in written


def test_wrong_inputs_are_refused(inputs: list[AttendedInput]) -> None:
    with pytest.raises(ValueError, match="at least one input"):
        explorer_page([], "Attention")
    with pytest.raises(ValueError, match="maps for 1 inputs, but 8 inputs"):
        explorer_page(inputs, "Attention", [()])


@needs_browser
def test_a_large_vision_transformer_is_ready_soon_and_shows_its_weights(
    browser: Browser, tmp_path: Path
) -> None:
    made = make_vit(14, 12, 12, 224)
    file = tmp_path / "large.html"
    file.write_text(explorer_page([made], "ViT-B/16"), "utf-8")
    assert file.stat().st_size <= 7_000_000
    # One may be slowed by what else the machine does.
    assert any(browser.open(file) <= 2 for _ in range(8))
    assert browser.value("unpacked.size") == 1
    browser.select("layer", 7)
    browser.select("head", 3)
    assert chosen(browser)["layer"] == 7
    assert chosen(browser)["head"] == 3
    weights = made.layers[7].weights[0, 3]
    assert (np.abs(shown(browser) - weights) <= bound(weights)).all()
    browser.view("heatmap")
    browser.point("#stage", *cell(browser, 100, 150))
    query, key = browser.value("[pochi.hover.query, pochi.hover.key]")
    assert abs(query - 100) <= 1
    assert abs(key - 150) <= 1
    names = made.layers[7].query_names
    told = re.fullmatch(r"(\d+,\d+) → (\d+,\d+): (\S+)", text(browser, "#tip"))
    assert told is not None
    assert told.group(1, 2) == (names[query], names[key])
    assert float(told[3]) == pytest.approx(
        float(weights[query, key]), abs=float(bound(weights)[query, key]) + 5e-5
    )
    browser.view("flow")
    assert browser.value("flowCurves(state).length") == 10


@needs_browser
@pytest.mark.parametrize("number", [SENTENCE, JAPANESE, CROSS, LONG, VIT, SWIN])
def test_every_head_of_every_layer_and_their_mean_are_shown(
    browser: Browser, page: Path, inputs: list[AttendedInput], number: int
) -> None:
    browser.open(page)
    browser.select("input", number)
    for depth, layer in enumerate(inputs[number].layers):
        browser.select("layer", depth)
        for window in range(len(layer.weights)):
            if len(layer.weights) > 1:
                browser.select("window", window)
            for head in {0, layer.heads - 1}:
                browser.select("head", head)
                weights = layer.weights[window, head]
                read = shown(browser)
                assert np.array_equal(np.isnan(read), np.isnan(weights))
                assert not (np.abs(read - weights) > bound(weights)).any()
            browser.select("head", layer.heads)
            exact = layer.weights[window].astype(np.float64)
            errors = np.abs(shown(browser) - exact.mean(axis=0))
            assert np.array_equal(np.isnan(errors), np.isnan(exact[0]))
            assert not (errors > bound(layer.weights[window]).mean(axis=0)).any()


@needs_browser
def test_the_pointer_tells_the_weight_and_a_click_chooses_the_query(
    browser: Browser, page: Path, inputs: list[AttendedInput]
) -> None:
    browser.open(page)
    browser.select("head", 2)
    assert chosen(browser)["query"] == 5
    browser.point("#stage", *cell(browser, 1, 3))
    weights = inputs[SENTENCE].layers[1].weights[0, 2]
    order = np.argsort(-weights[1]).tolist()
    told = re.fullmatch(r"cat → on: (\S+) \(number (\d) of 6 keys\)", text(browser, "#reading"))
    assert told is not None
    assert float(told[1]) == pytest.approx(float(weights[1, 3]), abs=float(bound(weights)[1, 3]) + 5e-4)
    assert int(told[2]) == order.index(3) + 1
    assert text(browser, "#tip") == f"cat → on: {told[1]}"
    assert text(browser, "#chosen") == "cat"
    browser.point("h1")
    assert text(browser, "#chosen") == "mat."
    assert browser.value("document.getElementById('tip').hidden")
    browser.click("#stage", *cell(browser, 1, 3))
    browser.wait("pochi.ready")
    assert chosen(browser)["query"] == 1
    names = browser.value("[...document.querySelectorAll('#strongest span')].map((e) => e.textContent)")
    assert names == [inputs[SENTENCE].layers[1].key_names[key] for key in order]
    browser.click("#words button:nth-child(3)")
    browser.wait("pochi.ready")
    assert chosen(browser)["query"] == 2


@needs_browser
def test_a_click_on_a_patch_chooses_it_and_the_picture_shows_where_it_attends(
    browser: Browser, page: Path, inputs: list[AttendedInput]
) -> None:
    browser.open(page)
    browser.select("input", VIT)
    assert chosen(browser) == {
        "input": VIT,
        "layer": 1,
        "head": -1,
        "window": 0,
        "query": 0,
        "view": "heatmap",
    }
    browser.view("picture")
    grid = inputs[VIT].layers[0].grid
    assert grid is not None
    for patch in (0, 3, 12, 6):
        browser.click("#stage", *patch_place(browser, grid, patch))
        browser.wait("pochi.ready")
        assert chosen(browser)["query"] == patch + 1
    browser.point("#stage", *patch_place(browser, grid, 9))
    assert text(browser, "#tip").startswith("2,3 → 3,2: ")
    browser.view("heatmap")
    browser.click("#small", 0.9, 0.2)
    browser.wait("pochi.ready")
    assert chosen(browser)["query"] == 4
    browser.view("picture")
    browser.click("#stage", *patch_place(browser, grid, 6))
    browser.value("document.getElementById('stage').focus()")
    for key, query in (("ArrowRight", 8), ("ArrowDown", 12), ("ArrowLeft", 11), ("ArrowUp", 7)):
        browser.press(key)
        browser.wait("pochi.ready")
        assert chosen(browser)["query"] == query


@needs_browser
def test_the_pieces_of_a_rolled_window_lie_where_they_came_from(
    browser: Browser, page: Path, inputs: list[AttendedInput]
) -> None:
    browser.open(page)
    browser.select("input", SWIN)
    browser.view("picture")
    browser.select("layer", 1)
    grid = inputs[SWIN].layers[1].grid
    assert grid is not None
    for window in range(4):
        browser.select("window", window)
        patches = grid.patches(window)
        options = browser.value("[...document.getElementById('query').options].map((e) => e.label)")
        there = zip(grid.names(window), patches, strict=True)
        assert options == [name if patch >= 0 else "padding" for name, patch in there]
        for token in (0, 5, 15):
            patch = int(patches[token])
            if patch < 0:
                continue
            browser.click("#stage", *patch_place(browser, grid, patch))
            browser.wait("pochi.ready")
            assert (chosen(browser)["window"], chosen(browser)["query"]) == (window, token)
        attended = int(patches[-1])
        if attended >= 0:
            assert int(np.argmax(redness(browser))) == attended
    # A patch that the chosen window does not see leads to the window that does.
    browser.select("window", 0)
    outside = int(grid.patches(3)[0])
    browser.click("#stage", *patch_place(browser, grid, outside))
    browser.wait("pochi.ready")
    assert chosen(browser)["window"] == 3


def redness(browser: Browser) -> list[float]:
    """Take the red of each patch of the picture, which is grey underneath, at a quarter of its width."""
    found: list[float] = browser.value("""(() => {
      const { x, y, width, height } = pictureView.layout;
      const { rows, columns } = state.matrix.tokens.grid;
      const copy = new OffscreenCanvas(stage.width, stage.height);
      const context = copy.getContext("2d", { willReadFrequently: true });
      context.drawImage(stage, 0, 0);
      const { data } = context.getImageData(0, 0, stage.width, stage.height);
      return Array.from({ length: rows * columns }, (_, patch) => {
        const column = Math.round(x + (patch % columns + 0.25) * width / columns);
        const row = Math.round(y + (Math.floor(patch / columns) + 0.25) * height / rows);
        return data[4 * (row * stage.width + column)];
      });
    })()""")
    return found


@needs_browser
def test_what_only_fills_up_a_window_is_not_chosen(
    browser: Browser, page: Path, inputs: list[AttendedInput]
) -> None:
    browser.open(page)
    browser.select("input", SWIN)
    browser.select("layer", 0)
    browser.select("window", 0)
    browser.select("query", 15)
    browser.select("window", 3)
    grid = inputs[SWIN].layers[0].grid
    assert grid is not None
    assert grid.patches(3)[15] < 0
    assert grid.patches(3)[chosen(browser)["query"]] >= 0


@needs_browser
def test_the_flow_draws_the_strongest_keys(browser: Browser, page: Path, inputs: list[AttendedInput]) -> None:
    browser.open(page)
    browser.select("input", LONG)
    browser.select("head", 4)
    browser.view("flow")
    weights = inputs[LONG].layers[0].weights[0, 4].astype(np.float64)

    def keys() -> list[list[int]]:
        found: list[list[int]] = browser.value("flowCurves(state).map(({query, key}) => [query, key])")
        return found

    browser.select("most", "top 5")
    best = np.argsort(-weights[64])
    assert {key for _, key in keys()} == set(best[:5].tolist())
    assert {query for query, _ in keys()} == {64}
    browser.select("most", "mass 0.5")
    needed = int(np.searchsorted(np.cumsum(weights[64][best]), 0.5)) + 1
    assert abs(len(keys()) - needed) <= 1
    browser.select("most", "top 1")
    browser.select("drawn", "all")
    assert sorted(query for query, _ in keys()) == list(range(65))
    browser.select("drawn", "one")
    browser.click("#stage", browser.value("flowView.layout.x0") / browser.box("#stage")[2], 0.5)
    browser.wait("pochi.ready")
    assert abs(chosen(browser)["query"] - 32) <= 1
    assert {query for query, _ in keys()} == {chosen(browser)["query"]}


@needs_browser
def test_a_click_on_a_head_chooses_it(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.select("input", LONG)
    browser.view("heads")
    assert browser.value("document.querySelectorAll('#tiles button').length") == 17
    browser.click("#tiles button:nth-child(4)")
    browser.wait("pochi.ready")
    assert chosen(browser)["head"] == 3
    pressed = "[...document.querySelectorAll('#tiles [aria-pressed=true] b')].map((e) => e.textContent)"
    assert browser.value(pressed) == ["Head 4"]
    assert browser.value("document.getElementById('head').selectedOptions[0].label") == "Head 4"


@needs_browser
def test_a_masked_query_is_empty(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.select("input", CROSS)
    assert chosen(browser)["query"] == MASKED
    assert text(browser, "#reading") == "drei sees no key: all are masked"
    assert text(browser, "#strongest") == "none: every key is masked"
    browser.view("flow")
    assert browser.value("flowCurves(state).filter(({query}) => query === 2).length") == 0


@needs_browser
def test_the_keyboard_suffices(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.value("document.getElementById('layer').focus()")
    browser.press("ArrowUp")
    browser.wait("pochi.ready && pochi.chosen.layer === 0")
    names = "[...document.querySelectorAll('select, input')].filter((e) => !e.labels.length).length"
    assert browser.value(names) == 0
    browser.value("document.querySelector('[name=view]:checked').focus()")
    browser.press("ArrowRight")
    browser.wait("pochi.ready && pochi.chosen.view === 'flow'")


@needs_browser
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window(
    browser: Browser, page: Path, inputs: list[AttendedInput], width: int, dark: bool
) -> None:
    browser.open(page, width, dark=dark)
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(14, 17, 22)" if dark else "rgb(244, 245, 247)")
    for number, made in enumerate(inputs):
        browser.select("input", number)
        for view in (*VIEWS, "picture") if made.image is not None else VIEWS:
            browser.view(view)
            assert browser.value("document.documentElement.scrollWidth") <= width, (number, view)


@needs_browser
@pytest.mark.parametrize(
    ("view", "control", "canvas"),
    [
        ("heatmap", "scale", "#stage"),
        ("flow", "most", "#stage"),
        ("heads", "scale", "#tiles canvas"),
        ("heads", "each", "#tiles canvas"),
        ("heatmap", "head", "#stage"),
        ("picture", "query", "#stage"),
    ],
)
def test_every_choice_changes_what_is_drawn(
    browser: Browser, page: Path, view: str, control: str, canvas: str
) -> None:
    browser.open(page)
    browser.select("input", VIT)
    browser.view(view)
    values = browser.value(f"[...document.getElementById({control!r}).options].map((e) => e.value)")
    drawn = set()
    for value in values:
        browser.select(control, value)
        drawn.add(browser.value(f"document.querySelector({canvas!r}).toDataURL()"))
    assert len(drawn) == len(values)


@needs_browser
def test_names_that_look_like_markup_are_shown_as_they_are(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.select("input", NO_MARKUP)
    browser.select("query", 0)
    assert text(browser, "#chosen") == ODD
    assert text(browser, "#about").startswith(f"{ODD} · {ODD} · 1 layer")
    assert text(browser, "#words").startswith(ODD)
    browser.view("flow")
    browser.view("heads")


@needs_browser
def test_maps_are_shown_with_what_they_are_worth(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.value("document.getElementById('maps').hidden")
    browser.select("input", VIT)
    assert not browser.value("document.getElementById('maps').hidden")
    captions = browser.value("[...document.querySelectorAll('#maps figcaption')].map((e) => e.textContent)")
    assert captions == [
        "attention rolloutdeletion 0.100, insertion 0.600; a better score than 1 of 2 random maps",
        f"{ODD}{ODD}",
    ]
