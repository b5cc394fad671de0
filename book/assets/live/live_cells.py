"""Runs the cells of a page inside Pyodide: what they print, show and raise goes to the page through `send`."""

import ast
import base64
import io
import linecache
import os
import sys
import time
import traceback

import matplotlib

import __main__

os.environ["TQDM_DISABLE"] = "1"  # as in the built book; a page has no line that can be written over
matplotlib.use("module://live_cells")  # this file is the backend: its FigureCanvas and its show

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas  # noqa: E402, F401

LONGEST = 200_000  # characters that one cell may print: an endless loop must not fill the page
ROUGH = "This browser rounds its clock to 1 ms: a claim about shorter times may fail here. Go on with the next cell."
send = print  # the worker's send(kind, text, …), set before the first cell runs


class Ticking:
    """A clock that waits for its next step, 0.1 ms in Chromium and 1 ms in Firefox: nothing seems to take no time."""

    asked = False  # has a cell asked for the time?

    def __init__(self, clock):
        self.clock = clock
        self.step = min(-self() + self() for _ in range(5))
        Ticking.asked = False

    def __call__(self):
        """Return the time, as the clock itself does."""
        Ticking.asked, before = True, self.clock()
        while (after := self.clock()) == before:
            pass
        return after


time.perf_counter, time.process_time = Ticking(time.perf_counter), Ticking(time.process_time)
time.thread_time = time.process_time  # a browser has no clock of one thread, and Python no second thread there


class Printer(io.TextIOBase):
    """A stream whose lines go to the page."""

    def __init__(self):
        self.sent = 0

    def write(self, text):
        """Send the text, up to a limit."""
        if self.sent < LONGEST:
            send("text", text)
        if self.sent < LONGEST <= self.sent + len(text):
            send("text", f"\n… only the first {LONGEST} characters are shown\n")
        self.sent += len(text)
        return len(text)


def show(*args, **kwargs):
    """Send all open figures, at twice the density of the screen as in the built book, and close them."""
    for number in plt.get_fignums():
        figure, file = plt.figure(number), io.BytesIO()
        figure.savefig(file, format="png", dpi=2 * figure.dpi, bbox_inches="tight")
        send("image", base64.b64encode(file.getvalue()).decode())
    plt.close("all")


def display(value):
    """Send a cell's last value: as HTML where it knows how, otherwise as text."""
    if hasattr(value, "_repr_html_"):
        send("html", value._repr_html_())
    elif hasattr(value, "_repr_markdown_"):
        send("source", repr(value))  # minigen's `source`, nothing else here knows Markdown
    elif not isinstance(value, plt.Figure):  # `show` sends it
        send("text", f"{value!r}\n")


def told(error):
    """Return the traceback from the cell on: the frames that led to it, which are no news to a reader, are left out."""
    shown = traceback.TracebackException.from_exception(error)
    while shown.stack and not shown.stack[0].filename.startswith("<cell "):
        del shown.stack[0]
    return "".join(shown.format())


def tell(error):
    """Send the traceback, and whether the clock may be to blame, so that what follows may well run."""
    rough = isinstance(error, AssertionError) and Ticking.asked and time.perf_counter.step > 0.0005
    send("error", told(error) + (f"\n{ROUGH}\n" if rough else ""), rough)


def execute(body, name):
    """Run statements as a notebook does; the value of a last expression is displayed."""
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), name, "exec"), vars(__main__))
    if last is not None:
        value = eval(compile(ast.Expression(last.value), name, "eval"), vars(__main__))
        if value is not None:
            display(value)
    show()


def parse(code, name):
    """Parse a cell and keep its lines, so that tracebacks and `inspect` can quote them."""
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    sys.stdout = sys.stderr = Printer()
    return ast.parse(code, name).body


def run(code, name):
    """Run a cell; return whether it came to its end."""
    try:
        execute(parse(code, name), name)
    except BaseException as error:  # SystemExit too: there is nothing to exit to
        plt.close("all")
        tell(error)
        return False
    return True


def check(code, name):
    """Run a test cell statement by statement, and send of each assert whether it holds and, if not, its hint."""
    holds = True
    for statement in parse(code, name):
        claim = ast.get_source_segment(code, statement.test) if isinstance(statement, ast.Assert) else None
        try:
            execute([statement], name)
        except BaseException as error:
            if claim is None or not isinstance(error, AssertionError):
                tell(error)
                return False
            holds = False
            send("test", claim, False, str(error))
        else:
            if claim is not None:
                send("test", claim, True, "")
    return holds
