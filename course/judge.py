"""Run tests here on an answer that lives in another process."""

import builtins
import warnings
from dataclasses import dataclass

from course.wire import Broken

BUILTIN = {name for name, kind in vars(builtins).items() if isinstance(kind, type)} | {"LinAlgError"}


@dataclass(frozen=True)
class Failure:
    """How a test or a cell failed. `fatal`: the process is gone; `of_answer`: the text is the answer's own."""

    error: str
    message: str
    fatal: bool = False
    of_answer: bool = False

    def __str__(self):
        return self.message if self.fatal else f"{self.error}: {self.message}"

    @property
    def how(self):
        """How a cell failed."""
        return self.message if self.fatal else f"stops: {self}"

    @property
    def told(self):
        """What may be told where the test is visible."""
        if self.fatal:
            return f"your answer {self.message}"
        return self.message if self.error == "AssertionError" else str(self)

    @property
    def hint(self):
        """What may be told where the test is hidden: its own messages, and nothing that the answer could have written.

        An answer sees what hidden tests call it with, and it could hand that on in the text of an exception.
        """
        if self.error == "AssertionError" and not self.of_answer:
            return self.message
        if self.fatal:
            return self.told
        return f"ends with {self.error if self.error in BUILTIN else 'an exception'}"


def attempt(worker, seconds, action):
    """Do something with the worker; return how it failed, or None."""
    try:
        with worker.within(seconds):
            action()
    except Broken as error:
        return Failure("Broken", str(error), fatal=True)
    except Exception as error:
        return Failure(type(error).__name__, str(error), of_answer=getattr(error, "of_answer", False))
    return None


def judge(worker, task, test, seconds):
    """Run a test cell on the names of a task's answer; return how it failed, or None where it passes."""

    def action():
        namespace = {"__name__": "__test__"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for text in task.opening:
                exec(compile(text, "<opening>", "exec"), namespace)
            worker.forget()
            worker.link.objects = task.objects
            namespace |= worker.take(sorted(task.names))
            exec(compile(test, "<test>", "exec"), namespace)

    return attempt(worker, seconds, action)
