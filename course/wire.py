"""The line between the tests and an answer in another process: one JSON text a line, and nothing that could run.

Numbers, texts, tuples and arrays travel by value, arrays as raw bytes with their type and shape: nothing is pickled,
and there are no arrays of objects. What the other side did to an array, a list, a dictionary or a random generator that
it got as an argument is done to the original. All else (functions, classes, their instances) stays where it is: the
other side gets a `Remote`, whose use is a request on the line. Each side serves requests while it waits for a reply, so
functions can be arguments.
"""

import base64
import builtins
import itertools
import json
import math
import warnings
import weakref

import numpy as np

LONGEST = 32_000_000  # bytes of a message
KINDS = "?biufcUS"  # of arrays: neither objects nor records
BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
ARITHMETIC = {f"__{side}{name}__" for name in BINARY for side in ("", "r")} | {"__neg__", "__abs__"}
READING = {"__len__", "__getitem__", "__iter__", "__array__"}


class Broken(BaseException):
    """The line is dead or speaks nonsense; no Exception, so that no test's `except Exception` hides it.

    The message says what the other side did, as in "your answer …", and holds nothing that came from there.
    """


class Remote:
    """An object of the other side: it can be called, read and changed, and is neither true nor equal to anything."""

    __array_ufunc__ = None  # a NumPy number times a Remote is the Remote's business

    def __init__(self, link, number, kind):
        vars(self).update(_link=link, _number=number, _kind=kind)

    def __repr__(self):
        return f"<{self._kind} of the other side>"

    def __bool__(self):
        raise TypeError(f"got an object of type {self._kind}, which is neither true nor false here")

    def __call__(self, *args, **kwargs):
        """Call the object over there."""
        return self._link.ask("call", self._number, args, kwargs)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return self._link.ask("get", self._number, (name,))

    def __setattr__(self, name, value):
        self._link.ask("set", self._number, (name, value))

    def __iter__(self):
        return iter(self._link.ask("operate", self._number, ("__iter__",)))

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._link.ask("operate", self._number, ("__array__",)), dtype=dtype)


def _operator(name):
    return lambda self, *others: self._link.ask("operate", self._number, (name, *others))


for _name in ARITHMETIC | {"__len__", "__getitem__"}:
    setattr(Remote, _name, _operator(_name))


class Link:
    """One end of the line.

    `roots` are the functions that the other side may call from the start, by number. The end of the tests is `wary`:
    of what it lent, the other side may call a function and use an instance of a class of the test cell; what it gets
    must be data, unless `objects` is set or its own function is being called; and it asks the other side for no
    arithmetic of objects but in such a call, since an object whose differences are all zero would pass any test.
    """

    def __init__(self, reader, writer, roots=None, wary=True):
        self.reader, self.writer, self.roots, self.wary = reader, writer, roots or {}, wary
        self.failures = Exception if wary else BaseException  # an answer's SystemExit is a failure like others
        self.objects, self.depth = False, 0  # depth: how many requests of the other side are being served
        self.forget()

    def forget(self):
        """Forget all objects that went over the line."""
        self.lent, self.shared, self.remotes, self.raised = dict(self.roots), {}, {}, []
        self.numbers, self.fresh, self.known = {}, itertools.count(len(self.roots)), {}

    def ask(self, action, number, args, kwargs=None):
        """Request something of the other side's object of that number; return or raise what comes of it."""
        if self.wary and not self.depth and args and action == "operate" and args[0] in ARITHMETIC:
            raise TypeError("got an object where a number or an array was expected")
        given = []
        packed = [self._pack(args, given), [[name, self._pack(value, given)] for name, value in (kwargs or {}).items()]]
        self._send(["ask", action, number, *packed, np.geterr()])
        while True:
            kind, *rest = self._receive()
            if kind == "ask":
                self._serve(*_exactly(5, rest))
            elif kind == "reply":
                return self._accept(given, *_exactly(3, rest))
            elif kind == "error":
                raise self._exception(*_exactly(4, rest))
            else:
                raise Broken("sent a message of unknown kind")

    def serve(self):
        """Serve requests until the other side hangs up."""
        while True:
            _, *rest = self._receive()
            self._serve(*_exactly(5, rest))

    def _serve(self, action, number, args, kwargs, errors):
        given = []
        self.depth += 1
        try:
            args = self._read(args, given)
            kwargs = {name: self._read(value, given) for name, value in kwargs}
            states = [_state(thing) for thing in given]
            target = self.lent[number]
            with np.errstate(**errors), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                result = self._act(action, target, args, kwargs)
            told = [[warning.category.__name__, str(warning.message)] for warning in caught[:20]]
            changes = [
                [index, self._pack(thing, [], anew=True)]
                for index, (thing, state) in enumerate(zip(given, states, strict=True))
                if not _same(_state(thing), state)
            ]
            message = ["reply", self._pack(result, []), changes, told]
        except self.failures as error:
            message = self._tell(error)
        finally:
            self.depth -= 1
        self._send(message)

    def _act(self, action, target, args, kwargs):
        name = args[0] if args else None
        ours = type(target).__module__ == "__test__" and (name in ARITHMETIC | READING or not str(name).startswith("_"))
        if self.wary and action != "call" and not ours:
            raise TypeError(f"{name!r} of {type(target).__name__} is not offered to an answer")
        if action == "call":
            return target(*args, **kwargs)
        if action == "get":
            return getattr(target, name)
        if action == "set":
            return setattr(target, name, args[1])
        if name == "__iter__":
            return list(target)
        if name == "__array__":
            return np.asarray(target)
        result = getattr(target, name)(*args[1:])
        if result is NotImplemented:
            raise TypeError(f"{name} of {type(target).__name__} does not take {', '.join(map(repr, args[1:]))}")
        return result

    def _accept(self, given, value, changes, told):
        result = self._read(value, [])
        for index, packed in changes:
            _restore(given[index], self._read(packed, []))
            self._know(given[index])
        for category, text in told:
            kind = getattr(builtins, category, None)
            known = isinstance(kind, type) and issubclass(kind, Warning)
            warnings.warn(text, kind if known else UserWarning, stacklevel=4)
        return result

    def _tell(self, error):
        """Describe an exception; one that came over the line goes back under its number."""
        number = getattr(error, "number_there", None)
        if number is None:
            self.raised.append(error)
        names = [kind.__name__ for kind in type(error).__mro__]
        return ["error", names, str(error)[:2000], len(self.raised) - 1 if number is None else None, number]

    def _exception(self, names, text, number_there, number_here):
        if isinstance(number_here, int) and 0 <= number_here < len(self.raised):
            return self.raised[number_here]
        known = {name: kind for name, kind in vars(builtins).items() if isinstance(kind, type)}
        known["LinAlgError"] = np.linalg.LinAlgError
        bases = [known[name] for name in names if name in known and issubclass(known[name], Exception)] + [Exception]
        kind = type(
            str(names[0])[:60], (bases[0],), {"__init__": lambda self, *args: None, "__str__": lambda self: text}
        )
        error = kind(text)
        error.number_there, error.of_answer = number_there, True
        return error

    # A value is None, a truth value, a number or a text as JSON has them, or a list [tag, ...].

    def _pack(self, value, given, anew=False):
        """Return a value as JSON; append to `given` what the other side may change in it."""
        if value is None or isinstance(value, bool | str) or type(value) in (int, float):
            return value
        if isinstance(value, Remote):
            return ["yours", value._number]
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            if array.dtype.kind not in KINDS:
                raise TypeError(f"got an array of type {array.dtype}, expected one of numbers")
            if array.nbytes > LONGEST // 2:
                raise ValueError(f"got an array of {array.nbytes / 1e6:.0f} MB, expected at most {LONGEST / 2e6:.0f}")
            data = base64.b64encode(array.tobytes()).decode()
            if isinstance(value, np.generic):
                return ["scalar", array.dtype.str, [], data]
            given.append(value)
            number = None if anew else self._number(value, self.shared)
            return ["array", array.dtype.str, list(array.shape), data, value.flags.writeable, number]
        if isinstance(value, np.random.Generator):
            given.append(value)
            return ["generator", json.dumps(value.bit_generator.state)]
        if isinstance(value, complex):
            return ["complex", value.real, value.imag]
        if isinstance(value, int | float):
            return int(value) if isinstance(value, int) else float(value)
        if isinstance(value, tuple):
            return ["tuple", *(self._pack(part, given) for part in value)]
        if isinstance(value, list | dict):
            number = None if anew else self._number(value, self.shared)
            given.append(value)
            if isinstance(value, dict):
                return ["dict", number, [[self._pack(key, given), self._pack(value[key], given)] for key in value]]
            parts = list(value)
            # of a list of the other side's objects that we left alone, the other side has the newest contents
            if any(isinstance(part, Remote) for part in parts) and _same(parts, self.known.get(number, [])):
                return ["list", number, None]
            self._know(value)
            return ["list", number, [self._pack(part, given) for part in parts]]
        if isinstance(value, slice):
            return ["slice", *(self._pack(part, given) for part in (value.start, value.stop, value.step))]
        if value is Ellipsis:
            return ["ellipsis"]
        return ["mine", self._number(value, self.lent), type(value).__name__]

    def _number(self, value, table):
        """Return the number of an object, and keep the object, so that no other gets its identity."""
        number = self.numbers.get(id(value))
        if number is None or _kept(table, number) is not value:
            number = next(self.fresh)
            if table is self.shared:  # a common table: numbers of the two ends must differ
                number = f"{'t' if self.wary else 'a'}{number}"
            self._keep(value, number, table)
        return number

    def _keep(self, value, number, table):
        # arrays are large and need not be kept: where nobody else does, nobody can tell
        table[number] = weakref.ref(value) if isinstance(value, np.ndarray) else value
        self.numbers[id(value)] = number

    def _know(self, thing):
        if isinstance(thing, list):
            self.known[self.numbers.get(id(thing))] = list(thing)

    def _read(self, packed, given):
        try:
            return self._unpack(packed, given)
        except (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
            if getattr(error, "unwelcome", False):
                raise
            raise self._broken(error, "sent a value that cannot be read") from None

    def _unpack(self, packed, given):
        if not isinstance(packed, list):
            if isinstance(packed, dict):
                raise ValueError("an object of JSON")
            return packed
        tag, *rest = packed
        if tag == "yours":
            return self.lent[rest[0]]
        if tag == "mine":
            return self._remote(*rest)
        if tag in ("array", "scalar"):
            array = _array(*rest[:3])
            if tag == "scalar":
                return array[()]
            return self._same_array(array, *rest[3:], given)
        if tag == "generator":
            generator = np.random.default_rng(0)
            generator.bit_generator.state = json.loads(rest[0])
            given.append(generator)
            return generator
        if tag == "complex":
            return complex(*rest)
        if tag == "tuple":
            return tuple(self._unpack(part, given) for part in rest)
        if tag in ("list", "dict"):
            return self._container({"list": list, "dict": dict}[tag], *rest, given)
        if tag == "slice":
            return slice(*(self._unpack(part, given) for part in rest))
        if tag == "ellipsis":
            return Ellipsis
        raise ValueError(f"a tag {tag!r:.40}")

    def _same_array(self, new, writeable, number, given):
        """Return the array of that number, the same object each time, with its present contents."""
        array = _kept(self.shared, number)
        if isinstance(array, np.ndarray) and (array.shape, array.dtype) == (new.shape, new.dtype):
            _restore(array, new)
        else:
            array = new
            array.flags.writeable = writeable
            if number is not None:
                self._keep(array, number, self.shared)
        given.append(array)
        return array

    def _container(self, kind, number, parts, given):
        """Return the list or dictionary of that number, the same object each time, with its present contents."""
        thing = self.shared.get(number)
        if not isinstance(thing, kind):
            thing = kind()
            if number is not None:
                self._keep(thing, number, self.shared)
        given.append(thing)
        if parts is not None:
            contents = [self._unpack(part, given) for part in parts] if kind is list else {}
            for key, part in parts if kind is dict else ():
                key = self._unpack(key, given)
                contents[key] = self._unpack(part, given)
            if type(thing) is kind:  # a list of a class of the test cell goes over by value and comes back as it is
                _restore(thing, contents)
            self._know(thing)
        return thing

    def _remote(self, number, kind):
        if self.wary and not (self.objects or self.depth):
            error = TypeError(f"got an object of type {str(kind)[:60]}, expected numbers or arrays")
            error.unwelcome = error.of_answer = True
            raise error
        if number not in self.remotes:
            self.remotes[number] = Remote(self, number, str(kind)[:60])
        return self.remotes[number]

    def _send(self, message):
        try:
            text = json.dumps(message).encode()
        except (ValueError, RecursionError) as error:
            raise self._broken(error, "was to get a value that cannot be sent") from None
        if len(text) > LONGEST:
            raise Broken(f"was to get a value of more than {LONGEST / 1e6:.0f} MB")
        try:
            self.writer.write(text + b"\n")
            self.writer.flush()
        except (OSError, ValueError):
            raise Broken("ended its process") from None

    def _receive(self):
        try:
            line = self.reader.readline(LONGEST + 2)
        except (OSError, ValueError):
            line = b""
        if not line:
            raise Broken("ended its process")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._broken(error, "sent something that is not JSON or too long") from None
        return _exactly(None, message)

    def _broken(self, error, text):
        # on the answer's side an endless recursion that ends in here stays what it is
        return Broken(text) if self.wary else error


def _exactly(length, message):
    if not isinstance(message, list) or not message or (length and len(message) != length):
        raise Broken("sent a message of another form")
    return message


def _array(dtype, shape, data):
    dtype, data = np.dtype(dtype), bytearray(base64.b64decode(data, validate=True))
    if dtype.kind not in KINDS:
        raise ValueError(f"an array of type {dtype}")
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes for shape {shape} and type {dtype}")
    return np.ndarray(tuple(shape), dtype, data)


def _kept(table, number):
    thing = table.get(number)
    return thing() if isinstance(thing, weakref.ref) else thing


def _state(thing):
    """Return what tells whether a thing has changed."""
    if isinstance(thing, np.ndarray):
        return thing.tobytes()
    return thing.bit_generator.state if isinstance(thing, np.random.Generator) else type(thing)(thing)


def _same(now, before):
    if isinstance(now, list):
        return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))
    if isinstance(now, dict) and "bit_generator" not in now:
        return list(now) == list(before) and all(now[key] is before[key] for key in now)
    return now == before if isinstance(now, bytes) else repr(now) == repr(before)


def _restore(thing, new):
    """Give a thing the contents of another."""
    if isinstance(thing, np.ndarray):
        if thing.flags.writeable:
            thing[...] = new
    elif isinstance(thing, np.random.Generator):
        thing.bit_generator.state = new.bit_generator.state
    elif isinstance(thing, list):
        thing[:] = new
    else:
        thing.clear()
        thing.update(new)
