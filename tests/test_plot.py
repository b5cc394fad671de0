import base64
import itertools
import re
from io import BytesIO

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from autograd.extend import primitive
from bs4 import BeautifulSoup
from PIL import Image

from minigen import display, plot

SQUARE = ((-2, 2), (-2, 2))
# Severe colour blindness as a matrix on linear RGB (Machado, Oliveira and Fernandes 2009).
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def gaussian(x):
    return -0.5 * np.sum(x**2, axis=1) - np.log(2 * np.pi)


def linear(colour):
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    return ((rgb + 0.055) / 1.055) ** 2.4 * (rgb > 0.04045) + rgb / 12.92 * (rgb <= 0.04045)


def luminance(colour):
    return linear(colour) @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def oklab(rgb):
    to_cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    to_lab = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return 100 * np.array(to_lab) @ np.cbrt(np.array(to_cones) @ np.clip(rgb, 0, 1))


# Palette and style


@pytest.mark.parametrize("name", plot.COLOURS)
def test_colours_stand_out_from_the_card(name):
    assert contrast(plot.COLOURS[name], plot.CARD) >= (4.5 if name in ("ink", "muted") else 3)


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_can_be_told_apart(vision):
    seen = {name: oklab(VISIONS[vision] @ linear(colour)) for name, colour in plot.COLOURS.items()}
    distances = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in itertools.combinations(seen, 2)}
    assert min(distances.values()) >= 8, min(distances, key=distances.get)


def test_colour_maps_are_ordered_by_lightness():
    density = [luminance(plot.DENSITY(t)) for t in np.linspace(0, 1, 64)]
    assert plot.DENSITY(0.0)[:3] == matplotlib.colors.to_rgb(plot.CARD)
    assert np.all(np.diff(density) < 0)
    signed = np.array([luminance(plot.SIGNED(t)) for t in np.linspace(0, 1, 65)])
    assert np.all(np.diff(signed[:32]) > 0)
    assert np.all(np.diff(signed[33:]) < 0)
    assert np.all(np.abs(np.sqrt(signed) - np.sqrt(signed[::-1])) < 0.16)


def test_importing_sets_the_style():
    assert plt.rcParams["figure.facecolor"] == plot.CARD
    assert not plt.rcParams["axes.spines.top"]
    assert plt.rcParams["font.size"] >= 11
    assert [entry["color"] for entry in plt.rcParams["axes.prop_cycle"]] == [plot.COLOURS[s] for s in plot.SERIES]


# Pictures on axes


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_panels_fit_a_phone(columns):
    fig, _ = plot.panels(1, columns)
    assert fig.get_figwidth() <= 7.2
    assert fig.get_facecolor() == matplotlib.colors.to_rgba(plot.CARD)


def test_panels_refuses_a_wide_figure():
    with pytest.raises(ValueError, match=r"panels: expected a width of at most 7.2 inches, got 9"):
        plot.panels(figsize=(9, 3))


def test_shared_planes_label_only_the_outer_axes():
    _, axes = plot.panels(1, 2, share=True)
    for ax in axes:
        plot.plane(ax, SQUARE)
    assert [ax.get_ylabel() for ax in axes] == ["$x_2$", ""]


def test_density_puts_values_where_they_belong():
    _, ax = plot.panels()
    image = plot.density(ax, lambda x: np.log(x[:, 0] + 10 * x[:, 1]), ((0, 1), (0, 2)), n=4)
    assert np.allclose(image.get_array()[3, 0], 0.125 + 10 * 1.75)
    assert (image.origin, *image.get_extent()) == ("lower", 0, 1, 0, 2)
    assert ax.get_xlim() == (0, 1)
    assert ax.get_ylim() == (0, 2)
    assert ax.get_aspect() == 1
    assert ax.get_xlabel() == "$x_1$"


def test_density_shows_nan_and_infinity_as_errors():
    _, ax = plot.panels()
    image = plot.density(ax, lambda x: np.array([np.nan, np.inf, 0.0, -np.inf]), SQUARE, n=2)
    assert image.get_array().mask.tolist() == [[True, True], [False, False]]
    assert matplotlib.colors.to_hex(plot.DENSITY.get_bad()) == plot.COLOURS["error"]
    assert image.get_clim() == (0, 1)


def test_contours_hold_the_mass():
    _, ax = plot.panels()
    drawn = plot.contours(ax, gaussian, ((-5, 5), (-5, 5)), masses=(0.5,))
    radius = np.hypot(*drawn.allsegs[0][0].T)
    assert np.allclose(radius, np.sqrt(-2 * np.log(0.5)), atol=0.02)


def test_samples_take_their_role_and_any_numbers():
    _, ax = plot.panels()
    dots = plot.samples(ax, [[0, 1], [2, 3], [4, 5]], role="truth", bounds=SQUARE, name="z")
    assert matplotlib.colors.to_hex(dots.get_facecolor()[0]) == plot.COLOURS["truth"]
    assert ax.get_ylabel() == "$z_2$"
    assert len(plot.samples(ax, np.zeros((0, 2))).get_offsets()) == 0


def test_warped_grid_measures_the_change_of_area():
    _, ax = plot.panels()
    swirl = plot.warped_grid(ax, lambda x: x @ np.array([[0.6, 0.8], [-0.8, 0.6]]), ((-1, 1), (-1, 3)), cells=5)
    assert len(swirl.get_array()) == 5 * 10
    assert np.allclose(swirl.get_array(), 1)
    collapsed = plot.warped_grid(ax, lambda x: x * [1, 0], SQUARE)
    assert np.all(collapsed.get_array() > 0)  # so that the logarithm does not hide it
    exponential = plot.warped_grid(ax, np.exp, ((0, 1), (0, 1)), cells=2)
    step = (np.exp(0.5) - 1) / 0.5
    assert np.allclose(exponential.get_array(), np.outer([1, np.exp(0.5)], [1, np.exp(0.5)]).ravel() * step**2)


def test_matrix_leaves_exact_zeros_blank():
    _, ax = plot.panels()
    image = plot.matrix(ax, np.array([[1.0, 0.0], [1e-300, np.nan]]), rows="output", columns="input")
    assert image.get_array().mask.tolist() == [[False, True], [False, True]]
    assert [text.get_text() for text in ax.texts] == ["1", "1e\u2212300", "nan"]
    assert plot.SIGNED(0.5)[:3] != matplotlib.colors.to_rgb(plot.CARD)
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("output", "input")


@pytest.mark.parametrize("A", [np.eye(20), np.eye(4, dtype=bool), np.zeros((3, 3)), np.ones((1, 1), dtype=int)])
def test_matrix_takes_all_kinds(A):
    fig, ax = plot.panels()
    plot.matrix(ax, A, rows="r", columns="c")
    assert len(ax.texts) == (1 if A.size == 1 else 0)
    fig.draw_without_rendering()


def test_curves_are_labelled_apart_and_inside():
    fig, ax = plot.panels()
    ax.set_yscale("log")
    plot.curves(ax, {"a": [3.0, 1.0], "b": [2.0, 1.0], "truth": [1.0, np.nan]}, xlabel="step", ylabel="loss (nats)")
    fig.draw_without_rendering()
    boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 2 for low, high in itertools.pairwise(boxes))
    colours = {text.get_text(): text.get_color() for text in ax.texts}
    assert colours["truth"] == plot.COLOURS["truth"]
    assert len(set(colours.values())) == 3
    assert len({line.get_linestyle() for line in ax.lines[:2]}) == 2


def test_parallelogram_tells_the_orientation():
    _, axes = plot.panels(1, 2)
    plot.parallelogram(axes[0], [[2, 0], [0, 3]])
    plot.parallelogram(axes[1], [[0, 3], [2, 0]], bounds=((-1, 4), (-1, 4)))
    assert [ax.texts[-1].get_text() for ax in axes] == ["6", "\u22126"]
    assert axes[0].patches[1].get_facecolor() != axes[1].patches[1].get_facecolor()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda ax: plot.plane(ax, ((1, 0), (0, 1))), "plane: expected bounds"),
        (lambda ax: plot.plane(ax, ((0, np.nan), (0, 1))), "plane: expected bounds"),
        (lambda ax: plot.density(ax, lambda x: x, SQUARE, n=3), r"density: expected log_prob .* \(9,\), got \(9, 2\)"),
        (lambda ax: plot.contours(ax, lambda x: x[:, 0] - np.inf, SQUARE), "contours: expected finite densities"),
        (lambda ax: plot.samples(ax, [1.0, 2.0]), r"samples: expected points of shape \(N, 2\), got shape \(2,\)"),
        (lambda ax: plot.samples(ax, [[1.0, 2.0]], role="red"), "samples: expected a role among truth, .*, got 'red'"),
        (lambda ax: plot.warped_grid(ax, gaussian, SQUARE), "warped_grid: expected f to return shape"),
        (lambda ax: plot.matrix(ax, [1, 2], rows="r", columns="c"), "matrix: expected a matrix with entries"),
        (lambda ax: plot.matrix(ax, [["a"]], rows="r", columns="c"), "matrix: expected real numbers or truth values"),
        (lambda ax: plot.curves(ax, {}, xlabel="x", ylabel="y"), "curves: expected at least one curve"),
        (lambda ax: plot.curves(ax, {"a": [np.nan]}, xlabel="x", ylabel="y"), "curves: expected 'a' with a value"),
        (lambda ax: plot.curves(ax, {"a": [1, 2]}, [1], xlabel="x", ylabel="y"), "curves: expected 'a' with a value"),
        (lambda ax: plot.parallelogram(ax, np.eye(3)), "parallelogram: expected a 2 by 2 matrix"),
    ],
)
def test_bad_input_is_named(draw, message):
    _, ax = plot.panels()
    with pytest.raises(ValueError, match=message):
        draw(ax)


# Figures with a slider


def moving_point(ax, a):
    plot.samples(ax, [[a, 0.0]], bounds=SQUARE)


def told(a):
    return f'A point at "{a:.1f}" < 2.'


def make(values=(-1.0, 0.0, 1.5), label="shift $LAST START <a>", **options):
    return plot.scrub(moving_point, values, label, alt=told, figsize=(2.4, 2.4), **options)


def test_scrub_has_a_frame_for_each_value():
    page = BeautifulSoup(make(start=-1).html, "html.parser")
    images = page.find_all("img")
    assert [image["alt"] for image in images] == [told(a) for a in (-1.0, 0.0, 1.5)]
    assert [image["data-value"] for image in images] == ["\u22121", "0", "1.5"]
    assert [image.has_attr("hidden") for image in images] == [True, True, False]
    assert [image.has_attr("data-start") for image in images] == [False, False, True]
    assert {(image["width"], image["height"]) for image in images} == {("240", "240")}
    pictures = [Image.open(BytesIO(base64.b64decode(image["src"].partition(",")[2]))) for image in images]
    assert {picture.size for picture in pictures} == {(480, 480)}
    assert {picture.mode for picture in pictures} == {"P"}
    assert len({picture.convert("RGB").tobytes() for picture in pictures}) == 3
    slider = page.find("input")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "2", "2")
    assert slider["aria-label"] == page.find("span").text == "shift $LAST START <a>"


def test_scrub_keeps_a_rare_colour_beside_a_wide_gradient():
    def draw(axes, a):
        plot.density(axes[0], gaussian, ((-2, 2), (-2, 2)))
        plot.plane(axes[1], ((0, 1), (0, 1)))
        axes[1].plot([0.1, 0.9], [a, a], color=plot.COLOURS["model"])

    frame = BytesIO(base64.b64decode(plot.scrub(draw, [0.4, 0.6], "a", alt=str, columns=2).png))
    wanted = 255 * np.array(matplotlib.colors.to_rgb(plot.COLOURS["model"]))
    pixels = np.asarray(Image.open(frame).convert("RGB"))
    assert np.abs(pixels - wanted).max(axis=2).min() <= 30  # of 255; without k-means it is 117


def test_scrub_is_deterministic_and_needs_nothing_else():
    first, second = make(), make()
    assert first.html == second.html
    page = BeautifulSoup(first.html, "html.parser")
    assert not page.find_all(id=True)
    assert not re.search(r"https?:|url\(|@import", first.html)
    assert all(tag["src"].startswith("data:image/png;base64,") for tag in page.find_all(src=True))
    script = page.find("script").string
    assert len(script.splitlines()) <= 13
    assert page.find("div").find("div").has_attr("hidden")  # no dead controls without JavaScript
    assert "prefers-reduced-motion" in page.find("style").string


def test_scrub_offers_a_picture_and_a_line_of_text():
    bundle = make(start=1)._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert Image.open(BytesIO(base64.b64decode(bundle["image/png"]))).size == (480, 480)
    assert bundle["image/png"] in bundle["text/html"]
    assert bundle["text/plain"] == repr(make()) == "<scrub 'shift $LAST START <a>', 3 frames>"
    assert not plt.get_fignums()


def test_scrub_keeps_the_layout_of_the_first_frame():
    places = []

    def draw(ax, title):
        moving_point(ax, 0.0)
        ax.set_title(title)
        places.append(ax)

    plot.scrub(draw, ["", "two\nlines"], "title", alt=lambda text: f"title {text}")
    assert np.allclose(places[0].get_position().bounds, places[1].get_position().bounds)


def test_scrub_gives_many_panels():
    def draw(axes, n):
        assert axes.shape == (2,)
        for ax in axes:
            moving_point(ax, n / 10)

    assert "2 frames" in repr(plot.scrub(draw, range(2), "step", alt=str, columns=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": []}, "at least two values, got 0"),
        ({"label": " "}, "a label for the slider, got ' '"),
        ({"start": 3}, "a start among 3 frames, got 3"),
        ({"alt": "a picture"}, "expected functions"),
        ({"alt": lambda a: ""}, "a text from each alt"),
        ({"draw": lambda ax, a: ax.plot([0, a])}, r"draw must fix limits and colour scales, but 2 and 1 differ"),
        ({"draw": lambda ax, a: ax.figure.add_subplot() if a == 2 else None}, "but 2 and 1 differ"),
        ({"figsize": (8, 3)}, "expected a width of at most 7.2"),
    ],
)
def test_scrub_refuses(change, message):
    options = {"draw": moving_point, "values": [1, 2, 3], "label": "a", "alt": str} | change
    with pytest.raises(ValueError, match=message):
        plot.scrub(**options)
    assert not plt.get_fignums()


def test_scrub_grows_coarser_and_then_refuses():
    noise = Image.fromarray(np.random.default_rng(0).integers(256, size=(400, 400), dtype=np.uint8)).convert("RGB")
    dress = {"card": "w", "ink": "k", "line": "g"}

    def build(frames):
        return display.Scrubber([noise] * frames, ["0"] * frames, ["noise"] * frames, "a", 0, dress)

    sizes = [Image.open(BytesIO(base64.b64decode(build(frames).png))).width for frames in (1, 3, 6)]
    assert sizes == [400, 300, 200]
    assert len(build(6).html) <= 300_000
    with pytest.raises(ValueError, match=r"scrub: expected at most 300 kB, got .* kB in 20 frames of 200 by 200"):
        build(20)


# Source code


class Documented:
    """A class."""

    rate = 0.1  # nats a step

    def method(self):
        """Only a docstring."""

    def other(self):
        """
        Return one,

        always.
        """

        # the reason
        return 1


class Bare(ValueError):
    """Nothing but this."""


@primitive
def wrapped(x):
    """Pass x through."""
    return x


def test_source_strips_docstrings_and_keeps_comments():
    assert repr(plot.source(Documented)) == (
        "class Documented:\n    rate = 0.1  # nats a step\n\n    def method(self):\n        ...\n\n"
        "    def other(self):\n        # the reason\n        return 1"
    )


def test_source_shows_several_objects_as_markdown():
    shown = plot.source(Bare, Documented.other, wrapped)
    assert repr(shown).count("\n\n\n") == 2
    assert repr(shown).startswith("class Bare(ValueError):\n    ...\n")
    assert repr(shown).endswith("@primitive\ndef wrapped(x):\n    return x")
    assert shown._repr_markdown_() == f"````python\n{shown!r}\n````"
    compile(repr(shown), "shown", "exec")


def test_source_of_a_module_compiles():
    code = repr(plot.source(plot))
    compile(code, "plot", "exec")
    assert '"""' not in code


@pytest.mark.parametrize("item", [len, 3, "text"])
def test_source_refuses_what_has_none(item):
    with pytest.raises(TypeError, match="source: expected a function, class or module written in Python"):
        plot.source(item)


def test_source_wants_something():
    with pytest.raises(ValueError, match="at least one"):
        plot.source()
