"""Draws README's picture, book/assets/toys.png: every toy's density. `python -m tools.picture`."""

from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from minigen import plot
from minigen.foundations.toys import TOYS

TARGET = Path(__file__).resolve().parents[1] / "book" / "assets" / "toys.png"


def main():
    fig, axes = plot.panels(2, 5, figsize=(7.2, 3.1))
    for ax, (name, toy) in zip(axes.ravel(), TOYS.items(), strict=True):
        # The square root of the density, so that the faint parts are seen too.
        plot.density(ax, lambda x, toy=toy: 0.5 * toy.log_prob(x), toy.bounds, n=300)
        ax.set_title(name, fontsize=8)
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
        ax.set_aspect("auto")
    fig.savefig(TARGET, dpi=200)
    plt.close(fig)
    Image.open(TARGET).convert("RGB").quantize(96).save(TARGET, optimize=True)
    print(f"{TARGET} ({TARGET.stat().st_size // 1000} kB)")


if __name__ == "__main__":
    main()
