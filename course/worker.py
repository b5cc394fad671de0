"""Run one answer against its tests in this fresh process: a job as JSON comes in, the outcomes as JSON go out.

The job is {"prelude": [text, ...], "answer": text, "tests": [text, ...]}. Each test starts from an empty namespace;
its outcome is None where it passes, else {"where": "prelude" | "answer" | "test", "error": type, "message": text}.
"""

import json
import os
import sys


def outcome(job, test):
    """Run prelude, answer and one test in order and tell the first failure."""
    namespace = {"__name__": "__main__"}
    steps = [*(("prelude", text) for text in job["prelude"]), ("answer", job["answer"]), ("test", test)]
    for where, text in steps:
        try:
            exec(compile(text, f"<{where}>", "exec"), namespace)
        except BaseException as error:  # SystemExit and KeyboardInterrupt of an answer are failures, too
            return {"where": where, "error": type(error).__name__, "message": str(error)}
    return None


def main():
    """Answer one job on the pipe that was standard output; what an answer prints goes to standard error."""
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = json.load(sys.stdin)
    json.dump([outcome(job, test) for test in job["tests"]], reply)
    reply.close()


if __name__ == "__main__":
    main()
