"""Start and stop the process of an answer, with or without a sandbox around it."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import minigen
from course import ROOT
from course.wire import Broken, Link

LIMITS = {
    "RLIMIT_AS": 2**30,  # bytes of memory, each process
    "RLIMIT_CPU": 600,  # seconds
    "RLIMIT_FSIZE": 2**24,  # bytes of a file
    "RLIMIT_NPROC": 8,  # processes and threads
    "RLIMIT_CORE": 0,
}
DISK = str(2**24)  # bytes of /tmp, the only place to write
START = 30  # seconds in which a process must be there
INSIDE = "/sandbox"
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from course.worker import main; main()"
SETTINGS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONHASHSEED": "0"}
CURE = """Nothing was graded, because the sandbox does not work: {reason}
Answers run in bubblewrap 0.8 or newer, on Linux: apt install bubblewrap (Debian, Ubuntu), dnf install bubblewrap.
Ubuntu 24.04 denies it to users until its AppArmor profile is loaded: apt install apparmor-profiles, then
  ln -s /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && systemctl reload apparmor
In a container, on macOS and on Windows, let a container without a network be the sandbox, from the folder of this book:
  docker build -t grader -f course/Dockerfile .
  mkdir -p out && docker run --rm --network none --memory 4g --pids-limit 64 --user "$(id -u):$(id -g)" \\
    -v "$PWD/submissions:/submissions:ro" -v "$PWD/out:/out" grader \\
    grade CHAPTER /submissions -o /out/grades.csv --unsafe
With --unsafe answers run as you, unbounded: they can read your files and the tests, write, use the network, and outlive
the grading."""


class SandboxError(RuntimeError):
    """The process of an answer did not start, for a reason that is not the answer's."""


class Worker:
    """A process that runs cells and lends what they define; `sandboxed` says whether it is bound."""

    live: set = set()

    def __init__(self, sandboxed):
        limits = None
        if sandboxed:
            # a user of its own, since the limit of processes does not bind root
            user = 20_000 + os.getpid() % 40_000 if os.geteuid() == 0 else None
            limits = {"resources": LIMITS, "user": user}
        command = [*(_bubblewrap() if sandboxed else []), *_python(INSIDE if sandboxed else str(ROOT))]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COURSE"))}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(command, env=kept | SETTINGS, start_new_session=True, **pipes)
        self.live.add(self)
        self.link, self.late = Link(self.process.stdout, self.process.stdin), None
        try:
            with self.within(START):
                self.link._send(limits)
                self.forget()
        except Broken as error:
            self.process.kill()
            said = self.process.stderr.read().decode(errors="replace").strip().splitlines()
            self.close()
            raise SandboxError(said[-1] if said else f"at the start it {error}") from None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def run(self, text):
        """Run the text of a cell."""
        self.link.ask("call", 0, (text,))

    def take(self, names):
        """Return those of the names that are defined there: data as they are, all else as a Remote."""
        objects, self.link.objects = self.link.objects, True
        try:
            return self.link.ask("call", 1, (names,))
        finally:
            self.link.objects = objects

    def forget(self):
        """Let both sides forget the objects of the tests before."""
        self.link.ask("call", 2, ())
        self.link.forget()

    @contextlib.contextmanager
    def within(self, seconds):
        """Kill the process after so many seconds; tell with Broken why it has ended, if it has."""
        timer = threading.Timer(seconds, self._end, [f"did not end within {seconds} s"])
        timer.start()
        # a number from the answer can also keep the tests busy, here, where no kill helps
        alarm = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
        if alarm:
            before = signal.signal(signal.SIGALRM, self._alarm)
            signal.setitimer(signal.ITIMER_REAL, seconds + 1)
        try:
            yield
        except Broken as error:
            raise Broken(self.late or str(error)) from None
        finally:
            timer.cancel()
            if alarm:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)

    def close(self):
        """End the process and all that it started (without a sandbox: unless it left the session)."""
        self._end(self.late)
        self.live.discard(self)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()

    def _end(self, why):
        self.late = why
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL) if hasattr(os, "killpg") else self.process.kill()

    def _alarm(self, *_):
        raise Broken(self.late)


@contextlib.contextmanager
def pool(jobs=None, memory=None):
    """Offer processes to grade in, with so much memory each; an interrupt ends them and their workers at once."""
    with ProcessPoolExecutor(jobs or os.cpu_count(), initializer=_begin, initargs=(memory,)) as processes:
        try:
            yield processes
        except KeyboardInterrupt:
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _begin(memory):
    def leave(*_):
        for worker in Worker.live:
            worker._end(None)
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the first process decides
    signal.signal(signal.SIGTERM, leave)
    if memory:
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _python(folder):
    # the absolute path of the interpreter, not what it links to, which would be another environment
    return [os.path.abspath(sys.executable), "-s", "-P", "-c", BOOT, folder]


def _bubblewrap():
    """Return the command that shows a process Python, minigen and the worker's own files, and nothing else."""
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxError("there is no program bwrap")
    spaces = ["ipc", "pid", "net", "uts", "cgroup-try", *(["user"] if os.geteuid() else [])]
    command = [program, *(f"--unshare-{space}" for space in spaces), "--die-with-parent", "--new-session", "--clearenv"]
    command += ["--cap-drop", "ALL", *([] if os.geteuid() else ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"])]
    for name, value in {**SETTINGS, "HOME": "/tmp", "LANG": "C.UTF-8", "PATH": "/usr/bin"}.items():
        command += ["--setenv", name, value]
    # outer folders come first; the book's own folder is covered, should it lie in one that is shown
    places = {"/tmp": ["--perms", "0777", "--size", DISK, "--tmpfs"], str(ROOT): ["--size", DISK, "--tmpfs"]}
    for folder in ("/usr", sys.base_prefix, sys.prefix):
        places[folder] = ["--ro-bind", folder]
    for folder in sorted(places, key=lambda folder: (len(Path(folder).parts), folder)):
        command += [*_parents(folder), *places[folder], folder]
    for folder in ("/bin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(folder):
            command += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            command += ["--ro-bind", folder, folder]
    command += _parents(f"{INSIDE}/course/any")
    for file in ("__init__.py", "wire.py", "worker.py"):
        command += ["--ro-bind", str(ROOT / "course" / file), f"{INSIDE}/course/{file}"]
    command += ["--ro-bind", str(Path(minigen.__file__).parent), f"{INSIDE}/minigen", "--dev", "/dev"]
    for folder in (str(ROOT), "/dev", "/"):
        command += ["--remount-ro", folder]
    return [*command, "--chdir", "/tmp"]


def _parents(folder):
    """Make the folders above one, for all to pass through; those that are there stay as they are."""
    above = [str(parent) for parent in reversed(Path(folder).parents) if parent != Path("/")]
    return [word for parent in above for word in ("--perms", "0755", "--dir", parent)]
