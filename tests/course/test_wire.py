"""What goes over the line to an answer's process, and what a lying process can send."""

import base64
import io
import json

import numpy as np
import pytest

from course.judge import attempt, judge
from course.sandbox import Worker
from course.tasks import Task
from course.wire import LONGEST, Broken, Link

CELL = """
import os, warnings
import numpy as np
def same(x): return x
def called(f, *args): return f(*args)
def spoil(x): x[0] = 7
def catch(f):
    try: f(1)
    except ValueError as error: return str(error)
def warn(): warnings.warn("small", RuntimeWarning); return np.float64(0) / np.float64(0)
class Zero:
    def __init__(self, value=0): self.value = value
    def __sub__(self, other): return 0.0
    __rsub__ = __eq__ = __le__ = __abs__ = __sub__
    def __getitem__(self, k): return self.value
    def __len__(self): return 3
def zero(): return Zero()
def with_zero(f): return f(Zero())
def grow(tape): tape.append(Zero(len(tape))); return tape
"""


@pytest.fixture(scope="module")
def worker():
    with Worker(sandboxed=False) as worker:
        worker.run(CELL)
        yield worker


def judged(worker, names, test, seconds):
    return judge(worker, Task("answer", "Exercise 1", 1, frozenset(names)), test, seconds)


@pytest.fixture
def names(worker):
    worker.forget()
    worker.link.objects = False
    return worker.take(["same", "called", "spoil", "catch", "warn", "Zero", "zero", "with_zero", "grow", "missing"])


VALUES = [
    *(
        None,
        True,
        3,
        -(2**70),
        0.5,
        float("inf"),
        "∀ \ud800",
        1 + 2j,
        (),
        (1, (2.0, "x")),
        [1, [2]],
        {"a": 1, (1, 2): [3]},
    ),
    *(slice(1, None, 2), Ellipsis, np.float64(2), np.int8(-3), np.bool_(True)),
]
ARRAYS = [
    np.arange(6.0).reshape(2, 3).T,
    *(np.zeros((0, 4)), np.array(5.0), np.array([np.nan, -np.inf, -0.0]), np.array([1 + 2j]), np.array(["ab", "c"])),
    *(np.arange(4, dtype=">i2"), np.array([True, False]), np.zeros(3, np.float32)),
]


class TestValues:
    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_go_there_and_back(self, value, names):
        back = names["same"](value)
        assert back == value
        assert type(back) is type(value)

    @pytest.mark.parametrize("array", ARRAYS, ids=repr)
    def test_arrays_go_there_and_back(self, array, names):
        back = names["called"](lambda x: x.copy(), array)
        assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())

    def test_an_array_that_comes_back_is_the_same_object(self, names):
        x, kept = np.zeros(2), []
        assert names["same"](x) is x
        names["called"](lambda f, y: kept.extend([y, f(y)]), names["same"], x)
        assert kept[0] is kept[1] is x

    def test_what_is_done_to_an_argument_is_done_to_the_original(self, names):
        array, numbers, table = np.zeros(2), [0], {0: 1}
        for thing in (array, numbers, table):
            names["spoil"](thing)
            assert thing[0] == 7
        frozen = np.zeros(2)
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            names["spoil"](frozen)

    def test_a_generator_goes_on_where_the_other_side_left_it(self, names):
        ours, alone = np.random.default_rng(3), np.random.default_rng(3)
        draws = [names["called"](names["same"], 0), ours.random()]
        assert draws == [0, alone.random()]
        names["called"](lambda rng: rng.random(4), ours)
        alone.random(4)
        assert ours.random() == alone.random()

    def test_functions_are_called_back_and_their_errors_come_home(self, names):
        def refuse(x):
            raise ValueError(f"no {x}")

        assert names["called"](lambda f, x: f(x) + 1, lambda x: 2 * x, 3) == 7
        assert names["catch"](refuse) == "no 1"
        with pytest.raises(ValueError, match="no 5") as caught:
            names["called"](refuse, 5)
        assert not hasattr(caught.value, "of_answer")

    def test_the_test_s_error_state_and_the_answer_s_warnings_count(self, names):
        with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
            names["warn"]()
        with np.errstate(invalid="ignore"), pytest.warns(RuntimeWarning, match="small"):
            names["warn"]()

    def test_a_list_of_objects_is_one_list_on_both_sides(self, worker, names):
        worker.link.objects = True
        tape = []
        for length in (1, 2):
            assert names["grow"](tape) is tape
            assert [entry.value for entry in tape] == list(range(length))


class TestObjects:
    """An object whose differences are all zero, equal to everything, would pass any test."""

    def test_are_no_result_unless_the_exercise_has_classes(self, names):
        with pytest.raises(TypeError, match="an object of type Zero, expected numbers or arrays"):
            names["zero"]()

    @pytest.mark.parametrize("use", [lambda z: z - 1.0, lambda z: 1.0 - z, abs, lambda z: np.ones(1) - z, bool])
    def test_have_no_arithmetic_and_no_truth(self, use, worker, names):
        worker.link.objects = True
        with pytest.raises(TypeError):
            use(names["zero"]())

    def test_equal_nothing(self, worker, names):
        worker.link.objects = True
        assert names["zero"]() != 0
        assert names["zero"]() != names["zero"]()

    def test_may_be_reckoned_with_where_the_answer_calls_a_test_s_function(self, names):
        assert names["with_zero"](lambda z: (z - 1.0) + 3) == 3

    def test_a_test_s_objects_offer_no_more_than_their_public_names(self, worker):
        test = "class Mine:\n    def __init__(self): self.x, self._y = 1, 2\nmine = Mine()\n"
        worker.run("def take_x(m): m.x += 1; return m.x\ndef take_y(m): return m._link.ask('get', m._number, ('_y',))")
        worker.run("def globals_of(f): return f._link.ask('get', f._number, ('__globals__',))")
        names = {"take_x", "take_y", "globals_of"}
        assert judged(worker, names, test + "assert take_x(mine) == 2 == mine.x", 20) is None
        failure = judged(worker, names, test + "take_y(mine)", 20)
        assert str(failure) == "TypeError: '_y' of Mine is not offered to an answer"
        failure = judged(worker, names, "globals_of(lambda: 0)", 20)
        assert str(failure) == "TypeError: '__globals__' of function is not offered to an answer"


def array(dtype="<f8", shape=(1,), data=b"\0" * 8, encoded=None):
    return ["array", dtype, list(shape), encoded or base64.b64encode(data).decode(), True, None]


LIES = {
    "objects": array("|O"),
    "record": array("f8,f8", (1,), b"\0" * 16),
    "no type": array("nonsense"),
    "huge": array(shape=(10**9, 10**9)),
    "negative": array(shape=(-1,)),
    "short": array(shape=(2,)),
    "no base64": array(encoded="*"),
    "tag": ["pickle", "gASVBQ=="],
    "empty": [],
    "not lent": ["yours", 10**6],
    "an object of JSON": {"a": 1},
    "unhashable": ["dict", None, [[["list", None, []], 1]]],
    "generator": ["generator", "{}"],
    "deep": json.loads("[" * 400 + "]" * 400),
}


class TestLies:
    @pytest.mark.parametrize("value", LIES.values(), ids=LIES)
    def test_a_value_of_another_form_breaks_the_line_and_nothing_else(self, value):
        reply = json.dumps(["reply", value, [], []]).encode() + b"\n"
        with pytest.raises(Broken, match="a value that cannot be read"):
            Link(io.BytesIO(reply), io.BytesIO()).ask("call", 0, ())

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"x\n",
            b"\xff\n",
            b"{}\n",
            b"[]\n",
            b'["reply"]\n',
            b'["answer", 1]\n',
            b"[" * 10**5 + b"\n",
            b" " * (LONGEST + 9),
        ],
        ids=lambda line: repr(line[:12]),
    )
    def test_a_message_of_another_form_breaks_the_line(self, line):
        with pytest.raises(Broken):
            Link(io.BytesIO(line), io.BytesIO()).ask("call", 0, ())

    def test_no_more_than_the_longest_message_is_read(self):
        flood = io.BytesIO(b" " * (LONGEST + 1000))
        with pytest.raises(Broken, match="not JSON or too long"):
            Link(flood, io.BytesIO()).ask("call", 0, ())
        assert flood.tell() <= LONGEST + 2

    def test_no_exception_of_a_test_hides_a_broken_line(self, worker):
        with Worker(sandboxed=False) as other:
            other.run("import os\ndef f(): os._exit(3)")
            test = "try:\n    f()\nexcept Exception:\n    pass"
            failure = judged(other, {"f"}, test, 20)
        assert (str(failure), failure.fatal) == ("ended its process", True)


class TestTime:
    def test_a_loop_ends(self):
        with Worker(sandboxed=False) as worker:
            failure = attempt(worker, 1, lambda: worker.run("while True: pass"))
        assert (str(failure), failure.fatal) == ("did not end within 1 s", True)

    def test_an_endless_recursion_that_calls_back_is_told_as_what_it_is(self):
        with Worker(sandboxed=False) as worker:
            worker.run("def f(x):\n    x.value = 1\n    return f(x)")
            test = "class Some:\n    value = 0\nf(Some())"
            failure = judged(worker, {"f"}, test, 60)
            assert (failure.error, failure.fatal) == ("RecursionError", False)
            assert judged(worker, {"f"}, "assert callable(f)", 20) is None

    def test_calling_back_for_ever_ends(self):
        with Worker(sandboxed=False) as worker:
            worker.run("def f(g):\n    while True: g()")
            failure = judged(worker, {"f"}, "f(lambda: None)", 1)
        assert str(failure) == "did not end within 1 s"

    def test_a_number_that_keeps_the_tests_busy_does_not(self):
        with Worker(sandboxed=False) as worker:
            worker.run("def f(): return 10**18")
            failure = judged(worker, {"f"}, "for _ in range(f()): pass", 1)
        assert str(failure) == "did not end within 1 s"
