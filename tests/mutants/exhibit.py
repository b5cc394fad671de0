"""What is told about a bug that is on show, and how it is tried."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

from minigen.errors import NoInverseError
from minigen.tree import tree_map


@dataclass(frozen=True)
class Exhibit:
    """A bug: `broken` is what has it, and its docstring says what was done wrong.

    `home` is the place where it was found (the field's own code, by its address), or the kind of place where it is
    easily made; `symptom` what one sees of it; `checks` exactly those that see it, of all that its room has. `number`
    counts the seventeen that were collected first, from other people's published code; some are shown in several forms.
    """

    broken: Callable
    home: str
    symptom: str
    checks: set[str]
    number: int | None = None

    @property
    def name(self):
        """Its name in words."""
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", " ", self.broken.__name__)
        return " ".join(word if word.isupper() else word.lower() for word in words.split())

    @property
    def bug(self):
        """What was done wrong."""
        return " ".join(inspect.getdoc(self.broken).split())


def failing(checks, *arguments, tolerance=1e-9):
    """Return the names of the checks whose error is not within the tolerance; no inverse is no failure."""
    found = set()
    for name, check in checks.items():
        try:
            if not check(*arguments) <= tolerance:
                found.add(name)
        except NoInverseError:
            pass
    return found


def jitter(params, rng, size):
    """Move the parameters away from the start, where most layers are the identity and most bugs asleep."""
    return tree_map(lambda leaf: leaf + size * rng.normal(size=leaf.shape).astype(leaf.dtype), params)
