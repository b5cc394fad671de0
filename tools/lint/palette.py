"""Every colour of the figures stands out from the card that they are drawn on."""

import importlib

from tools.lint.book import Finding

LEAST = 3  # WCAG 2.1, 1.4.11: what is needed to understand a graphic has a contrast of 3:1 to what adjoins it


def luminance(colour):
    """Return the relative luminance of WCAG 2.1."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """Return the contrast ratio of WCAG 2.1, from 1 to 21."""
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def check(book):
    plot = importlib.import_module("minigen.plot")
    for role, colour in plot.COLOURS.items():
        ratio = contrast(colour, plot.CARD)
        if ratio < LEAST:
            sentence = f"the colour {role!r} has a contrast of {ratio:.2f} to the card: make it {LEAST} or more"
            yield Finding("minigen/plot.py", None, sentence)
