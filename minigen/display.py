"""What a notebook shows besides text and pictures: figures with a slider, and source code.

`minigen.plot` offers both; this file holds their making and knows nothing of matplotlib.
"""

import ast
import base64
import html
import inspect
import io
import textwrap
from string import Template

from PIL import Image

from minigen.errors import require

__all__ = ["Scrubber", "source"]

LARGEST = 300_000  # bytes of HTML in one figure

# No ids, so that many fit on one page. Without JavaScript there are no controls, under reduced motion no play button,
# on paper only the start frame.
TEMPLATE = Template("""\
<div class="minigen-scrub"><style>
.minigen-scrub {box-sizing: border-box; width: fit-content; max-width: 100%; margin: 0 auto; padding: .5rem;
  border-radius: .4rem; background: $card; color: $ink; border: 1px solid $line; color-scheme: light;
  accent-color: $ink; font: 1rem/1.5 sans-serif}
.minigen-scrub > img:not([hidden]) {display: block; max-width: 100%; height: auto; margin: 0; padding: 0 !important}
.minigen-scrub > div:not([hidden]) {display: flex; flex-wrap: wrap; align-items: center; gap: .25rem .75rem}
.minigen-scrub label {flex: 1; display: flex; align-items: center; gap: .75rem; margin: 0}
.minigen-scrub input {flex: 1; min-width: 6rem; height: 2rem; margin: 0}
.minigen-scrub output {min-width: 3.5rem; font-variant-numeric: tabular-nums}
.minigen-scrub button {width: 2.25rem; height: 2.25rem; padding: 0; border: 1px solid $ink; border-radius: 50%;
  background: $card; color: $ink; font-size: .8rem; cursor: pointer}
div.text_html:has(> .minigen-scrub) {background: none !important; padding: 0 !important}
@media (prefers-reduced-motion: reduce) {.minigen-scrub button {display: none}}
@media print {.minigen-scrub > div:not([hidden]), .minigen-scrub > img:not([hidden]) {display: none}
  .minigen-scrub > img[data-start] {display: block !important}}
</style>
$frames
<div hidden><button type="button" aria-label="Play">\u25b6\ufe0e</button><label><span>$label</span>
<input type="range" min="0" max="$last" value="$start" autocomplete="off" aria-label="$label"></label>
<output aria-live="off"></output></div>
<script>(() => {
  const box = document.currentScript.parentElement, frames = box.querySelectorAll("img");
  const [bar, range, out, play] = ["div", "input", "output", "button"].map(name => box.querySelector(name));
  const show = () => frames.forEach((frame, i) => { if (!(frame.hidden = i != range.value))
    range.setAttribute("aria-valuetext", out.value = frame.dataset.value); });
  const mark = (sign, name) => { play.textContent = sign; play.setAttribute("aria-label", name); };
  let timer; const stop = () => { timer = clearInterval(timer); mark("\u25b6\ufe0e", "Play"); };
  const step = () => { range.value++; show(); if (range.value == range.max) stop(); };
  play.onclick = () => { if (timer) return stop(); mark("\u275a\u275a", "Pause");
    if (range.value == range.max) { range.value = 0; show(); } timer = setInterval(step, 500); };
  range.oninput = () => { stop(); show(); }; bar.hidden = false; show();
})();</script></div>
""")


class Scrubber:
    """A figure with a slider: HTML where it can be shown, otherwise the picture of its start frame.

    `pictures` are the frames at twice the density of the screen, all of one size; each has its value as text and an
    alternative text. They are shown as dense as 300 kB of HTML allow. `colours` names those of card, ink and line.

    Raises ValueError where even the density of the screen takes more than 300 kB.
    """

    def __init__(self, pictures, texts, alts, label, start, colours):
        self.text = f"<scrub {label!r}, {len(pictures)} frames>"
        width, height = (side // 2 for side in pictures[0].size)
        for density in (2, 1.5, 1):
            size = round(density * width), round(density * height)
            frames = [_png(picture.resize(size, Image.Resampling.BOX)) for picture in pictures]
            self.png = frames[start]
            images = (
                f'<img class="dark-light" {"data-start" if i == start else "hidden"} width="{width}" height="{height}" '
                f'decoding="sync" alt="{html.escape(alt)}" data-value="{html.escape(text)}" '
                f'src="data:image/png;base64,{frame}">'
                for i, (frame, alt, text) in enumerate(zip(frames, alts, texts, strict=True))
            )
            marks = {"frames": "\n".join(images), "label": html.escape(label), "last": len(frames) - 1, "start": start}
            self.html = TEMPLATE.substitute(colours | marks)
            if len(self.html.encode()) <= LARGEST:
                return
        raise ValueError(
            f"scrub: expected at most {LARGEST // 1000} kB, got {len(self.html) / 1000:.1f} kB in {len(frames)} frames "
            f"of {width} by {height}: draw fewer, smaller or simpler ones"
        )

    def __repr__(self):
        return self.text

    def _repr_html_(self):
        return self.html

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html, "image/png": self.png, "text/plain": self.text}


def _png(picture):
    """Encode a picture with a palette of 64 colours, several times smaller; k-means keeps rare ones true."""
    file = io.BytesIO()
    picture.quantize(64, kmeans=1, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def source(*objects):
    """Show the source code of functions, classes or modules without their docstrings; comments stay.

    Notebooks and the book highlight it; elsewhere it is plain text.

    Raises TypeError for what has no source code in Python.

    >>> source(require)
    def require(condition, message):
        if not condition:
            raise ValueError(message)
    """
    require(len(objects) > 0, "source: expected at least one function, class or module, got none")
    return _Source("\n\n\n".join(_without_docstrings(item) for item in objects))


class _Source:
    def __init__(self, code):
        self.code = code

    def __repr__(self):
        return self.code

    def _repr_markdown_(self):
        return f"````python\n{self.code}\n````"


def _without_docstrings(item):
    if getattr(item, "_is_autograd_primitive", False):
        item = item.fun  # the function that was wrapped, not autograd's wrapper
    try:
        lines = textwrap.dedent(inspect.getsource(inspect.unwrap(item))).splitlines()
    except (TypeError, OSError):
        raise TypeError(f"source: expected a function, class or module written in Python, got {item!r}") from None
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, documented)]
    found = [(node.body[0], len(node.body)) for node in nodes if ast.get_docstring(node) is not None]
    for docstring, statements in sorted(found, key=lambda pair: -pair[0].lineno):
        first, last = docstring.lineno - 1, docstring.end_lineno
        if statements == 1:  # nothing else in the body
            lines[first:last] = [lines[first][: docstring.col_offset] + "..."]
        else:
            del lines[first : last + (lines[last] == "")]
    return "\n".join(lines)
