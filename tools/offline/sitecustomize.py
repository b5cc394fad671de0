"""The rule "no network": with this directory on PYTHONPATH, Python's sockets reach this machine only.

Kernels still run, because ZeroMQ opens its sockets in C.
"""

import importlib.machinery
import importlib.util
import ipaddress
import os
import socket
import sys


class OfflineError(RuntimeError):
    """Not an OSError, so that no `except OSError` takes the refusal for a bad connection and goes on."""


def check_host(host):
    """Raise `OfflineError` unless `host` is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return
    try:
        loopback = ipaddress.ip_address(name).is_loopback
    except ValueError:  # any other name needs a look-up
        loopback = False
    if not loopback:
        raise OfflineError(f'rule "no network": a notebook must run offline, but this code asks for {name!r}')


def guard_method(name):
    """Check the address, which is the last argument of each of the guarded methods."""
    original = getattr(socket.socket, name)

    def guarded(self, *args):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check_host(args[-1][0])
        return original(self, *args)

    setattr(socket.socket, name, guarded)


def chain():
    """Run the `sitecustomize` that this one hides, if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))
    others = [path for path in sys.path if os.path.abspath(path) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


chain()
for method in ("connect", "connect_ex", "sendto"):
    guard_method(method)
look_up = socket.getaddrinfo


def guarded_look_up(host, *args, **kwargs):
    """`socket.getaddrinfo` for this machine only."""
    check_host(host)
    return look_up(host, *args, **kwargs)


socket.getaddrinfo = guarded_look_up
