"""The figures of the book: one style, one palette, and the few kinds of picture that the chapters draw.

Importing this module sets matplotlib's defaults. Each colour of `COLOURS` keeps one meaning in the whole book:

- ``truth``: the data and the density they come from
- ``model``: what was fitted or generated
- ``latent``: codes and base distributions
- ``accent``: the one thing to look at, or a second model
- ``error``: what went wrong; NaN is drawn in it
- ``muted``: context, such as where something started; ``ink``: text

`DENSITY` is the colour map of densities: no mass is the bare paper. `SIGNED` is the one of signed values, and of ratios
on a log scale: blue below, grey at zero (or at ratio one), orange above, as in "model minus truth".

Every function but `panels`, `scrub` and `source` draws on the matplotlib Axes that it is given, and labels it.
"""

import io
import sys

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, LogNorm
from matplotlib.patches import FancyArrowPatch, Polygon
from PIL import Image

from minigen.display import Scrubber, source
from minigen.errors import check_points, require

__all__ = [
    "CARD", "COLOURS", "DENSITY", "LINE", "SIGNED", "colour_bar", "contours", "curves", "density", "matrix",
    "panels", "parallelogram", "plane", "samples", "scrub", "source", "warped_grid",
]  # fmt: skip

CARD = "#ffffff"  # what every figure stands on, in the dark theme too
LINE = "#d5d9de"  # axes and outlines: they carry no meaning, so they may be faint
COLOURS = {
    "truth": "#2f73cd",
    "model": "#ef5e02",
    "latent": "#77338b",
    "accent": "#24a671",
    "error": "#9a000c",
    "muted": "#6c737e",
    "ink": "#141b25",
}
DENSITY = LinearSegmentedColormap.from_list(
    "density", [CARD, "#d9ede6", "#9fd3cf", "#5faebd", "#397fa6", "#2f4f86", "#231f4f"]
).with_extremes(bad=COLOURS["error"])
SIGNED = LinearSegmentedColormap.from_list(
    "signed", ["#143f85", "#2f73cd", "#9dbde8", "#eceae6", "#fab78c", "#ef5e02", "#963a00"]
)
SERIES = ("model", "accent", "latent", "muted")  # what curves without a role take in turn
WIDEST = 7.2  # inches; the text of wider figures is too small on a phone

plt.rc("figure", figsize=(4.8, 3.6), dpi=100, facecolor=CARD)
plt.rc("savefig", facecolor=CARD)
plt.rc("font", family="DejaVu Sans", size=11)  # it comes with matplotlib, so that every machine draws the same
plt.rc("mathtext", fontset="cm")
plt.rc("text", color=COLOURS["ink"])
plt.rc("axes", facecolor=CARD, edgecolor=LINE, labelcolor=COLOURS["ink"], labelsize=12, axisbelow=True)
plt.rc(
    "axes", titlesize=12, titlelocation="left", titlepad=8, prop_cycle=plt.cycler(color=[COLOURS[s] for s in SERIES])
)
plt.rc("axes.spines", top=False, right=False)
plt.rc("xtick", color=LINE, labelcolor=COLOURS["muted"], labelsize=10)
plt.rc("ytick", color=LINE, labelcolor=COLOURS["muted"], labelsize=10)
plt.rc("lines", linewidth=2, solid_capstyle="round")
plt.rc("legend", frameon=False, markerscale=2)

if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("retina")  # two pixels for one, at the same size on the page


def _colour(who, role):
    require(role in COLOURS, f"{who}: expected a role among {', '.join(COLOURS)}, got {role!r}")
    return COLOURS[role]


def _box(who, bounds):
    box = np.asarray(bounds, dtype=float)
    valid = box.shape == (2, 2) and np.isfinite(box).all() and (box[:, 0] < box[:, 1]).all()
    require(valid, f"{who}: expected bounds ((x_low, x_high), (y_low, y_high)) with low < high, got {bounds!r}")
    return box


def _on_grid(who, log_prob, bounds, n):
    """Evaluate exp(log_prob) at the centres of n by n cells; the rows run along the second coordinate."""
    x, y = (low + (high - low) * (np.arange(n) + 0.5) / n for low, high in _box(who, bounds))
    values = np.asarray(log_prob(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)))
    require(values.shape == (n * n,), f"{who}: expected log_prob to return shape ({n * n},), got {values.shape}")
    return x, y, np.exp(values).reshape(n, n)


def _minus(text):
    return text.replace("-", "\N{MINUS SIGN}")


def _number(value):
    """Format a number in at most five characters, as long as it is below 1000."""
    large, tiny = 10 <= abs(value) < np.inf, 0 < abs(value) < 0.01
    return _minus(f"{value:.0f}" if large else f"{value:.0e}" if tiny else f"{value:.2g}")


def panels(rows=1, columns=1, *, figsize=None, share=False):
    """Return a figure and its axes, at a width that a phone can show.

    One panel is 4.8 inches wide, two are 6.8, more are 7.2 (the most that is allowed); each is 0.8 as high as wide.
    `axes` is one Axes, an array of them, or a (rows, columns) array, as `plt.subplots` returns them. With `share` all
    panels have the same limits and only the outer ones are labelled.

    Raises ValueError for a figure wider than 7.2 inches.

    >>> fig, axes = panels(1, 2)
    >>> axes.shape, float(fig.get_figwidth())
    ((2,), 6.8)
    >>> plt.close(fig)
    """
    if figsize is None:
        width = {1: 4.8, 2: 6.8}.get(columns, WIDEST)
        figsize = (width, 0.8 * rows * width / columns)
    require(figsize[0] <= WIDEST, f"panels: expected a width of at most {WIDEST} inches, got {figsize[0]}")
    return plt.subplots(rows, columns, figsize=figsize, sharex=share, sharey=share, layout="compressed")


def plane(ax, bounds=None, name="x"):
    """Make `ax` a plane: equal aspect, axes named after `name`, limits fixed where `bounds` are given.

    `bounds` are ((x_low, x_high), (y_low, y_high)).

    >>> fig, ax = panels()
    >>> plane(ax, ((-1, 1), (-2, 2)), "z")
    >>> ax.get_xlabel(), ax.get_aspect()
    ('$z_1$', 1.0)
    >>> plt.close(fig)
    """
    ax.set_aspect("equal")
    ax.set(xlabel=f"${name}_1$", ylabel=f"${name}_2$")
    if bounds is not None:
        x, y = _box("plane", bounds)
        ax.set(xlim=x, ylim=y)
    if len(ax.get_shared_x_axes().get_siblings(ax)) > 1:
        ax.label_outer()


def density(ax, log_prob, bounds, *, vmax=None, n=200, name="x"):
    """Draw exp(log_prob) as a heat map; log_prob maps (N, 2) to (N,).

    `vmax` is the density of the darkest colour, by default the largest that is met; panels that are compared need the
    same. NaN and infinite densities are drawn in the error colour. n**2 evaluations. Returns the image, for
    `colour_bar` and for its `get_clim`.

    >>> fig, ax = panels()
    >>> image = density(ax, lambda x: -0.5 * np.sum(x**2, axis=1) - np.log(2 * np.pi), ((-3, 3), (-3, 3)))
    >>> round(float(image.get_clim()[1]), 3)
    0.159
    >>> plt.close(fig)
    """
    values = np.ma.masked_invalid(_on_grid("density", log_prob, bounds, n)[2])
    vmax = values.max() if vmax is None else vmax
    image = ax.imshow(values, DENSITY, vmin=0, vmax=vmax, origin="lower", extent=np.ravel(bounds))
    plane(ax, bounds, name)
    return image


def contours(ax, log_prob, bounds, *, role="model", masses=(0.5, 0.9), n=200):
    """Outline the smallest regions that hold the given shares (by default 50 % and 90 %) of a density's mass.

    The edge of a region is a level of the density, found by sorting its values on a grid. n**2 evaluations. Returns the
    contour set; it sets neither labels nor limits, since it is drawn over something.

    >>> fig, ax = panels()
    >>> drawn = contours(ax, lambda x: -0.5 * np.sum(x**2, axis=1), ((-4, 4), (-4, 4)))
    >>> [round(float(np.sqrt(-2 * np.log(level))), 1) for level in drawn.levels]  # radii; exact: sqrt(-2 log(1 - mass))
    [2.1, 1.2]
    >>> plt.close(fig)
    """
    x, y, values = _on_grid("contours", log_prob, bounds, n)
    require(
        np.isfinite(values).all() and values.any(), "contours: expected finite densities, and mass inside the bounds"
    )
    descending = np.sort(values, axis=None)[::-1]
    held = np.cumsum(descending) / descending.sum()
    levels = sorted({float(descending[np.searchsorted(held, mass)]) for mass in masses})
    return ax.contour(x, y, values, levels, colors=_colour("contours", role), linewidths=1.8)


def samples(ax, x, *, role="model", bounds=None, label=None, name="x"):
    """Scatter the points x (N, 2) in the colour of their role, smaller the more there are.

    A thin light edge keeps them apart on the dark parts of a heat map. Returns the collection.

    >>> fig, ax = panels()
    >>> samples(ax, [[0.0, 1.0], [2.0, 3.0]], role="truth").get_offsets().shape
    (2, 2)
    >>> plt.close(fig)
    """
    x = check_points("samples", x, 2)
    size = np.clip(4000 / max(len(x), 1), 5, 18)
    dots = ax.scatter(*x.T, size, _colour("samples", role), edgecolors=CARD, linewidths=0.25, label=label, zorder=3)
    plane(ax, bounds, name)
    return dots


def _area(polygons):
    """Return the areas of polygons (..., points, 2) by the shoelace formula."""
    x, y = np.moveaxis(polygons, -1, 0)
    return 0.5 * np.abs(np.sum(x * np.roll(y, -1, axis=-1) - y * np.roll(x, -1, axis=-1), axis=-1))


def warped_grid(ax, f, bounds, *, cells=12, limit=4.0, name="x"):
    """Draw the image of a grid of squares under f, (N, 2) to (N, 2); the colour of a cell is its change of area.

    The change is the area of the drawn cell divided by that of its square, that is |det| of the Jacobian averaged over
    the cell (where f does not fold it). The scale is logarithmic: grey keeps area, blue shrinks, orange grows; beyond a
    factor `limit` the colour stays. `cells` counts along the shorter side of `bounds`. To fix the limits of the axes
    call `plane` afterwards. Returns the cells, for `colour_bar`; their `get_array()` are the changes of area.

    >>> fig, ax = panels()
    >>> drawn = warped_grid(ax, lambda x: x * np.array([2.0, 3.0]), ((-1, 1), (-1, 1)))
    >>> np.allclose(drawn.get_array(), 6.0)
    True
    >>> plt.close(fig)
    """
    box = _box("warped_grid", bounds)
    lengths = box[:, 1] - box[:, 0]
    counts = np.rint(cells * lengths / lengths.min()).astype(int)
    corners = np.stack(np.meshgrid(*map(np.arange, counts)), axis=-1).reshape(-1, 1, 2)
    side, zero, one = np.arange(8) / 8, np.zeros(8), np.ones(8)  # eight points show how a side bends
    outline = np.stack([np.r_[side, one, 1 - side, zero], np.r_[zero, side, one, 1 - side]], axis=-1)
    squares = box[:, 0] + (corners + outline) * lengths / counts
    image = np.asarray(f(squares.reshape(-1, 2)))
    wanted = (squares.size // 2, 2)
    require(image.shape == wanted, f"warped_grid: expected f to return shape {wanted}, got {image.shape}")
    image = image.reshape(squares.shape)
    drawn = PolyCollection(
        image, cmap=SIGNED, norm=LogNorm(1 / limit, limit), edgecolors=COLOURS["ink"], linewidths=0.4
    )
    drawn.set_array(np.maximum(_area(image) / _area(squares), 1e-300))  # no area is the end of the scale, not missing
    ax.add_collection(drawn)
    ax.autoscale_view()
    plane(ax, name=name)
    return drawn


def colour_bar(mappable, label):
    """Add a slim, labelled colour bar beside the axes of `mappable`, in powers of two where its scale is a ratio.

    >>> fig, ax = panels()
    >>> bar = colour_bar(warped_grid(ax, lambda x: x, ((-1, 1), (-1, 1))), "change of area")
    >>> [tick.get_text() for tick in bar.ax.get_yticklabels()]
    ['1/4', '1/2', '1', '2', '4']
    >>> plt.close(fig)
    """
    require(hasattr(mappable, "norm"), f"colour_bar: expected what a drawing function returned, got {mappable!r}")
    ax, ratio = mappable.axes, isinstance(mappable.norm, LogNorm)
    extend = "both" if ratio else "neither"
    bar = ax.figure.colorbar(mappable, ax=ax, label=label, shrink=0.85, aspect=24, pad=0.02, extend=extend)
    bar.outline.set_visible(False)
    if ratio:
        low, high = np.log2([mappable.norm.vmin, mappable.norm.vmax])
        powers = range(int(np.ceil(low)), int(np.floor(high)) + 1)
        bar.set_ticks([2.0**p for p in powers], labels=[f"{2**p}" if p >= 0 else f"1/{2**-p}" for p in powers])
        bar.minorticks_off()
    return bar


def matrix(ax, A, *, rows, columns, limit=None):
    """Draw a matrix: exact zeros stay blank, all else is filled, and numbers are written where they fit.

    `rows` and `columns` say what is counted along them. The colour tells sign and size up to `limit` (by default the
    largest absolute value); truth values have one colour. NaN and infinities are written in the error colour. Numbers
    are written up to 8 by 8. Returns the image, for `colour_bar`.

    >>> fig, ax = panels()
    >>> image = matrix(ax, [[1.5, 0.0], [-2.0, 0.25]], rows="output", columns="input")
    >>> [text.get_text() for text in ax.texts]
    ['1.5', '−2', '0.25']
    >>> plt.close(fig)
    """
    A = np.asarray(A)
    require(A.ndim == 2 and A.size > 0, f"matrix: expected a matrix with entries, got shape {A.shape}")
    require(A.dtype.kind in "fiub", f"matrix: expected real numbers or truth values, got dtype {A.dtype}")
    values, finite = A.astype(float), np.isfinite(A)
    limit = limit or np.max(np.abs(values), initial=0, where=finite) or 1.0
    cmap = ListedColormap([COLOURS["muted"]]) if A.dtype == bool else SIGNED
    image = ax.imshow(np.ma.masked_where((values == 0) | ~finite, values), cmap, vmin=-limit, vmax=limit)
    corner, opposite = ax.get_position().get_points() * ax.figure.get_size_inches() * 72
    size = min(10, min((opposite - corner) / A.shape[::-1]) / 3.2)  # points; a number has five characters
    written = ~finite | ((values != 0) & (A.dtype != bool) & (max(A.shape) <= 8) & (size >= 6))
    for i, j in np.argwhere(written):
        luminance = np.dot(np.array(cmap(image.norm(values[i, j]))[:3]) ** 2.2, (0.2126, 0.7152, 0.0722))
        colour = COLOURS["error"] if not finite[i, j] else CARD if luminance < 0.2 else COLOURS["ink"]
        ax.text(j, i, _number(values[i, j]), ha="center", va="center", color=colour, fontsize=max(size, 6))
    for count, axis, name in zip(A.shape, (ax.yaxis, ax.xaxis), (rows, columns), strict=True):
        axis.set_label_text(name)
        ticks = range(count) if count <= 8 else (0, count - 1)
        axis.set_ticks(ticks, labels=[tick + 1 for tick in ticks])
        axis.set_ticks(np.arange(count + 1) - 0.5, minor=True)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(True)
    if max(A.shape) <= 64:  # finer cells would vanish under their outlines
        ax.grid(which="minor", color=LINE, linewidth=0.6)
    return image


def curves(ax, series, x=None, *, xlabel, ylabel, roles=None):
    """Draw each curve of the dict `series` (label: values) with its label at its right end, in place of a legend.

    `x` counts from 0 where it is not given. `roles` maps labels to roles; a label that is itself a role has that
    colour, the others take what is left, in turn, each with a line style of its own. Set limits and a
    logarithmic scale before the call: labels are pushed apart on the scale that the axes then have.

    >>> fig, ax = panels()
    >>> curves(ax, {"model": [3.0, 2.5, 2.1], "entropy": [2.0, 2.0, 2.0]}, xlabel="step", ylabel="nats",
    ...        roles={"entropy": "truth"})
    >>> [text.get_text() for text in ax.texts]
    ['entropy', 'model']
    >>> plt.close(fig)
    """
    require(len(series) > 0, "curves: expected at least one curve, got none")
    roles = {label: label for label in series if label in COLOURS} | (roles or {})
    free = [role for role in SERIES if role not in roles.values()] or list(SERIES)
    styles = ("-", "--", "-.", ":")
    heights, colours, others = [], [], 0
    for label, y in series.items():
        y = np.asarray(y, dtype=float)
        along = np.arange(len(y)) if x is None else np.asarray(x)
        valid = y.shape == along.shape and np.isfinite(y).any()
        require(valid, f"curves: expected {label!r} with a value for each x, some of them finite, got shape {y.shape}")
        if label in roles:
            colour, style = _colour("curves", roles[label]), "-"
        else:
            colour, style = COLOURS[free[others % len(free)]], styles[others % 4]
            others += 1
        ax.plot(along, y, color=colour, linestyle=style)
        heights.append(y[np.isfinite(y)][-1])
        colours.append(colour)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(x=0.02)
    ax.autoscale_view()
    heights = (ax.transData + ax.transAxes.inverted()).transform([(along[0], y) for y in heights])[:, 1]
    gap = 1.3 * plt.rcParams["font.size"] / 72 / (ax.figure.get_figheight() * ax.get_position().height)
    order = np.argsort(heights)
    apart = np.clip(heights[order], 0, 1)
    for _ in range(100):  # neighbours that overlap give way to each other by halves
        push = np.maximum(gap - np.diff(apart), 0) / 2
        apart = apart + np.r_[0, push] - np.r_[push, 0]
        apart[0] = max(apart[0], gap / 2)  # below is the last tick's label
    for i, height in zip(order, apart, strict=True):
        ax.text(1.01, height, list(series)[i], color=colours[i], transform=ax.transAxes, va="center")


def parallelogram(ax, A, *, bounds=None):
    """Draw the image of the unit square (dashed) under the 2 by 2 matrix A: its columns as arrows, det A as a number.

    The area is |det A|. It is orange where A keeps the turn from the first arrow to the second counterclockwise, and
    blue, with a negative number, where A flips it.

    >>> fig, ax = panels()
    >>> parallelogram(ax, [[0.0, 2.0], [1.0, 0.0]])
    >>> ax.texts[-1].get_text()
    '−2'
    >>> plt.close(fig)
    """
    A = np.asarray(A, dtype=float)
    require(A.shape == (2, 2), f"parallelogram: expected a 2 by 2 matrix, got shape {A.shape}")
    first, second = A.T
    determinant = first[0] * second[1] - first[1] * second[0]
    colour = SIGNED(0.83 if determinant >= 0 else 0.17)
    ax.add_patch(Polygon([(0, 0), (1, 0), (1, 1), (0, 1)], fill=False, edgecolor=COLOURS["muted"], linestyle="--"))
    ax.add_patch(Polygon([0 * first, first, first + second, second], facecolor=(*colour[:3], 0.3), edgecolor=colour))
    for column, name, side in ((first, "$a_1$", 1), (second, "$a_2$", -1)):
        arrow = {"arrowstyle": "-|>", "mutation_scale": 14, "linewidth": 2, "color": COLOURS["ink"]}
        ax.add_patch(FancyArrowPatch((0, 0), column, shrinkA=0, shrinkB=0, **arrow))
        ahead = column / max(np.hypot(*column), 1e-12)
        outward = ahead + (side if determinant >= 0 else -side) * np.array([ahead[1], -ahead[0]])
        ax.annotate(name, column, 9 * outward, textcoords="offset points", ha="center", va="center", fontsize=13)
    paper = {"facecolor": CARD, "alpha": 0.8, "edgecolor": "none", "pad": 2}
    ax.text(*(first + second) / 2, _minus(f"{determinant:.3g}"), ha="center", va="center", bbox=paper)
    ax.autoscale_view()
    plane(ax, bounds)


def scrub(draw, values, label, *, alt, start=0, rows=1, columns=1, figsize=None):
    """Draw one frame for each value, and return a figure with a slider that moves through them.

    `draw(axes, value)` gets the axes that `panels(rows, columns, figsize=figsize)` returns, new for each value; it must
    fix their limits and colour scales, so that only what is drawn moves. `label` names the value beside the slider;
    `alt(value)` is the text that stands for the frame. `start` is the index of the frame that is seen first, and alone
    where there is no JavaScript, on paper, and where only a picture can be shown. The result needs nothing else.

    Raises ValueError for fewer than two values, a start that is none of them, an alternative text that is empty,
    limits that move, and more than 300 kB.

    >>> def draw(ax, a):
    ...     samples(ax, [[a, 0.0]], bounds=((-1, 1), (-1, 1)))
    >>> scrub(draw, [0.0, 0.5], "shift a", alt=lambda a: f"A point at {a} on the first axis.")
    <scrub 'shift a', 2 frames>
    """
    values = list(values)
    require(len(values) > 1, f"scrub: expected at least two values, got {len(values)}")
    require(callable(draw) and callable(alt), "scrub: expected functions draw(axes, value) and alt(value)")
    require(isinstance(label, str) and label.strip(), f"scrub: expected a label for the slider, got {label!r}")
    require(-len(values) <= start < len(values), f"scrub: expected a start among {len(values)} frames, got {start}")
    alts = [alt(value) for value in values]
    require(all(isinstance(text, str) and text.strip() for text in alts), "scrub: expected a text from each alt(value)")
    pictures = []
    for value in values:
        figure, axes = panels(rows, columns, figsize=figsize)
        try:
            draw(axes, value)
            limits = np.array([(*ax.get_xlim(), *ax.get_ylim()) for ax in figure.axes])
            if not pictures:
                figure.draw_without_rendering()
                fixed, places = limits, [ax.get_position(original=True) for ax in figure.axes]
            moved = limits.shape != fixed.shape or not np.allclose(limits, fixed)
            require(not moved, f"scrub: draw must fix limits and colour scales, but {value!r} and {values[0]!r} differ")
            figure.set_layout_engine("none")  # each frame keeps the first one's layout, or the axes would tremble
            for ax, place in zip(figure.axes, places, strict=True):
                ax.set_position(place)
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=200)
            pictures.append(Image.open(file).convert("RGB"))
        finally:
            plt.close(figure)
    texts = [_minus(f"{v:.3g}") if isinstance(v, float) else str(v) for v in values]
    return Scrubber(
        pictures, texts, alts, label, start % len(values), {"card": CARD, "ink": COLOURS["ink"], "line": LINE}
    )
