"""Submissions and the attacks that a grader meets, as code cells for the notebook in conftest.py.

Exercise 1, `shear`, and exercise 2, `determinant`, give 2 points each. Each entry: the cells, the points of both, and
what the attacked exercise's feedback says.
"""

from textwrap import dedent

IMPORTS = "import numpy as np"
SHEAR = "def shear(x, k):\n    return x + k * x[:, 1:] * np.array([1.0, 0.0])"
DETERMINANT = "def determinant(A):\n    return A[0, 0] * A[1, 1] - A[0, 1] * A[1, 0]"
RIGHT = (IMPORTS, SHEAR, DETERMINANT)
PASSES = "passes all tests"
COORDINATE = "a hidden test: the second coordinate stays, ∀ k ≤ 3"
TODO = "# YOUR CODE HERE\n    raise NotImplementedError()"
SHEAR_STUB = f'def shear(x, k):\n    """Shear the points x (N, 2) along the first axis by k."""\n    {TODO}'
DETERMINANT_STUB = f'def determinant(A):\n    """Return the determinant of a 2 by 2 matrix."""\n    {TODO}'


def only_if(attack):
    """Cells whose shear is right only if the attack, a cell that sets `won`, has won; determinant is right."""
    guarded = (
        f"won = False\n{dedent(attack)}\n\n\ndef shear(x, k):\n    return x + won * k * x[:, 1:] * np.array([1, 0])"
    )
    return IMPORTS, guarded, DETERMINANT


SUBMISSIONS = {
    "alice, right": (RIGHT, (2, 2), PASSES),
    "bob, wrong but passing the visible tests": (
        (IMPORTS, "def shear(x, k):\n    return x * (1.0 + k)", "def determinant(A):\n    return 1.0"),
        (0, 0),
        COORDINATE,
    ),
    "carol, a loop": (
        (IMPORTS, "def shear(x, k):\n    while True:\n        pass", DETERMINANT),
        (0, 2),
        "a visible test: your answer did not end within 3 s",
    ),
    "carol, an exception": (
        (IMPORTS, "def shear(x, k):\n    raise KeyError('k')", DETERMINANT),
        (0, 2),
        "a visible test: KeyError: 'k'",
    ),
    "dave, a transformer of IPython that deletes every assert": (
        (
            IMPORTS,
            "import ast\n\n\nclass NoAsserts(ast.NodeTransformer):\n    def visit_Assert(self, node):\n"
            "        return ast.Pass()\n\n\nget_ipython().ast_transformers.append(NoAsserts())",
            "def shear(x, k):\n    return 0 * x",
            DETERMINANT,
        ),
        (0, 2),
        "a visible test: k = 0 changes nothing",
    ),
    "lena, patches of NumPy and builtins": (
        (
            "import builtins\nimport numpy as np\nnp.allclose = lambda *a, **k: True\nbuiltins.abs = lambda x: -1",
            "def shear(x, k):\n    return 0 * x",
            "def determinant(A):\n    return 5.0",
        ),
        (0, 0),
        "a visible test: k = 0 changes nothing",
    ),
    "erin, a memory bomb": (
        (IMPORTS, "def shear(x, k):\n    return bytearray(6 * 2**30)", DETERMINANT),
        (0, 2),
        "a visible test: MemoryError: ",
    ),
    "gwen, right with a warning": (
        (IMPORTS, SHEAR.replace("return", "np.log(np.zeros(1))\n    return"), DETERMINANT),
        (2, 2),
        PASSES,
    ),
    "hank, an exercise that kills the process": (
        (IMPORTS, SHEAR, "import os\n\n\ndef determinant(A):\n    os._exit(0)"),
        (2, 0),
        PASSES,
    ),
    "hank, a cell that kills the process": (
        (IMPORTS, SHEAR, "import os\nos._exit(0)", DETERMINANT.replace("return", "return np.zeros(()) +")),
        (2, 2),
        PASSES,
    ),
    "iris, a copied answer cell, the first a stub": (
        (IMPORTS, SHEAR_STUB, *RIGHT[1:]),
        (2, 2),
        PASSES,
    ),
    "iris, the stub copied below the answer": ((*RIGHT, SHEAR_STUB), (2, 2), PASSES),
    "iris, the stub's body left in": (
        (IMPORTS, f"def shear(x, k):\n    if k == 0:\n        return x\n    {TODO}", DETERMINANT),
        (0, 2),
        "`shear`: still stops at NotImplementedError",
    ),
    "otto, a helper at the end, and magics": (
        (
            "%matplotlib inline\n!pip list\nimport numpy as np",
            "def shear(x, k):\n    return x + helper(k, x)",
            DETERMINANT,
            "%%time\ndef helper(k, x):\n    return k * x[:, 1:] * np.array([1.0, 0.0])",
        ),
        (2, 2),
        PASSES,
    ),
    "a helper that is defined twice": (
        (
            IMPORTS,
            "def helper(k, x):\n    return k * x[:, 1:] * np.array([1.0, 0.0])",
            "def shear(x, k):\n    return x + helper(k, x)",
            "def helper(A):\n    return A[0, 1] * A[1, 0]",
            "def determinant(A):\n    return A[0, 0] * A[1, 1] - helper(A)",
        ),
        (2, 2),
        PASSES,
    ),
    "nothing done": (
        (IMPORTS, SHEAR_STUB, DETERMINANT_STUB),
        (0, 0),
        "not attempted",
    ),
    "a syntax error": (
        (IMPORTS, "def shear(x, k)\n    return x", DETERMINANT),
        (0, 2),
        "the cell of the answer is not Python: line 1: expected ':'",
    ),
    "a syntax error below a magic and beside the stub": (
        (IMPORTS, SHEAR_STUB, "%%time\ndef shear(x, k):\n    return x +", DETERMINANT),
        (0, 2),
        "the cell of the answer is not Python: line 3: invalid syntax",
    ),
    "an answer's cell that ends its process": (
        (IMPORTS, "import os\n\n\ndef shear(x, k):\n    return x\n\n\nos._exit(3)", DETERMINANT),
        (0, 2),
        "the cell of the answer ended its process",
    ),
    "an answer's cell that does not end": (
        (IMPORTS, "def shear(x, k):\n    return x\n\n\nwhile True:\n    pass", DETERMINANT),
        (0, 2),
        "the cell of the answer did not end within 3 s",
    ),
    "a helper's cell that ends its process": (
        (IMPORTS, "import os\nhelper = 1\nos._exit(3)", "def shear(x, k):\n    return helper * x", DETERMINANT),
        (0, 2),
        "a visible test: NameError: name 'helper' is not defined; the cell that begins with `import os` "
        "ended its process",
    ),
    "a helper's cell that stops": (
        (IMPORTS, "1 / 0", "import no_such\nhelper = 1", "def shear(x, k):\n    return helper * x", DETERMINANT),
        (0, 2),
        "a visible test: NameError: name 'helper' is not defined; the cell that begins with `import no_such` stops: "
        "ModuleNotFoundError: No module named 'no_such'",
    ),
    "a helper's cell that is not Python": (
        (IMPORTS, "1 / 0", "helper = 1 +", "def shear(x, k):\n    return helper * x", DETERMINANT),
        (0, 2),
        "a visible test: NameError: name 'helper' is not defined; the cell that begins with `helper = 1 +` stops: "
        "SyntaxError: invalid syntax (<cell>, line 1)",
    ),
    "a name that no cell defines": (
        (IMPORTS, "1 / 0", "def shear(x, k):\n    return helper * x", DETERMINANT),
        (0, 2),
        "a visible test: NameError: name 'helper' is not defined; the cell that begins with `1 / 0` stops: "
        "ZeroDivisionError: division by zero",
    ),
    "an answer's cell that misses a name": (
        ("import no_such\nimport numpy as np", "def shear(x, k=np.pi):\n    return x", DETERMINANT),
        (0, 2),
        "the cell of the answer stops: NameError: name 'np' is not defined; the cell that begins with `import no_such` "
        "stops: ModuleNotFoundError: No module named 'no_such'",
    ),
    "an answer that stops": (
        (IMPORTS, "x = 1 / 0\n\n\ndef shear(x, k):\n    return x", DETERMINANT),
        (0, 2),
        "the cell of the answer stops: ZeroDivisionError: division by zero",
    ),
    "an empty notebook": ((), (0, 0), "no cell defines `shear`"),
}

# Each wins where it is not prevented: cheats inside the tests' own process, breakouts without a sandbox.
CHEATS = {
    "patches of NumPy and builtins": (
        (
            "import builtins\nimport numpy as np\nnp.allclose = lambda *a, **k: True\nbuiltins.abs = lambda x: -1",
            "def shear(x, k):\n    return 0 * x",
            "def determinant(A):\n    return -1",
        ),
        (0, 0),
    ),
    "an object that equals everything": (
        (
            IMPORTS,
            SHEAR,
            "class Any:\n    def __sub__(self, other):\n        return self\n    __abs__ = lambda self: self\n"
            "    def __eq__(self, other):\n        return True\n    __lt__ = __le__ = __eq__",
            "def determinant(A):\n    return Any()",
        ),
        (2, 0),
    ),
    "the caller's frame": (
        (
            "import sys\nimport numpy as np",
            SHEAR.replace("return", "sys._getframe(1).f_globals['abs'] = lambda x: -1\n    return"),
            "def determinant(A):\n    return -1",
        ),
        (2, 0),
    ),
    "the collector of garbage": (
        (
            IMPORTS,
            SHEAR,
            "import gc\n\n\ndef determinant(A):\n    for thing in gc.get_objects():\n"
            "        if isinstance(thing, dict) and 'swapped_rows' in thing:\n            return -1\n    return 1.0",
        ),
        (2, 0),
    ),
}

BREAKOUTS = {
    "reads the book": """
        import os
        won = any(os.path.exists(f"{BOOK}/{part}") for part in ("tests", "course/grading.py", "book", ".git"))""",
    "reads a file of the system": """
        try:
            won = bool(open("/etc/passwd").read())
        except OSError:
            pass""",
    "reads what other processes are told": """
        import os
        won = os.path.isdir("/proc/1") and bool(os.listdir("/proc/1"))""",
    "reads the environment": """
        import os
        won = "SECRET" in os.environ""",
    "connects": """
        import socket
        try:
            socket.create_connection(("127.0.0.1", PORT), 2)
            won = True
        except OSError:
            pass""",
    "connects to a socket of the system": """
        import socket
        try:
            socket.socket(socket.AF_UNIX).connect(ABSTRACT)
            won = True
        except OSError:
            pass""",
    "writes where Python or the book stands": """
        import os, sys
        won = os.access(os.path.dirname(os.__file__), os.W_OK) or os.access(sys.prefix, os.W_OK)""",
    "fills the disk": """
        try:
            for n in range(4):
                with open(f"{FOLDER}/{n}", "wb") as file:
                    file.write(bytes(2**23))
            won = True
        except OSError:
            pass""",
    "takes memory": """
        try:
            won = np.empty(2**28).size > 0
        except MemoryError:
            pass""",
    "forks": """
        import os, time
        try:
            for n in range(40):
                if os.fork() == 0:
                    time.sleep(20)
                    os._exit(0)
            won = True
        except OSError:
            pass""",
    "lifts its limits": """
        import resource
        try:
            resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))
            won = True
        except (ValueError, OSError):
            pass""",
}

ATTACKS = {
    "forged replies": (
        "import os, json\n\n\ndef shear(x, k):\n    for fd in range(3, 12):\n        try:\n"
        '            os.write(fd, json.dumps(["reply", True, [], []]).encode() + b"\\n")\n'
        "        except OSError:\n            pass\n    return 0 * x",
        "a visible test: k = 0 changes nothing",
    ),
    "nonsense on the line": (
        "import os\n\n\ndef shear(x, k):\n    for fd in range(3, 12):\n        try:\n"
        '            os.write(fd, b"(lp0\\n")\n        except OSError:\n            pass\n    return x',
        "a visible test: your answer sent something that is not JSON or too long",
    ),
    "a segmentation fault": (
        "import ctypes\n\n\ndef shear(x, k):\n    ctypes.string_at(0)",
        "a visible test: your answer ended its process",
    ),
    "endless recursion": (
        "def shear(x, k):\n    return shear(x, k)",
        "a visible test: RecursionError: maximum recursion depth exceeded",
    ),
    "floods of prints": (
        "import sys\n\n\ndef shear(x, k):\n    for _ in range(100):\n        print('x' * 10**6)\n"
        "        print('x' * 10**6, file=sys.stderr)\n    return 0 * x",
        "a visible test: k = 0 changes nothing",
    ),
    "an array of objects": (
        "def shear(x, k):\n    return np.array([x, None], dtype=object)",
        "a visible test: TypeError: got an array of type object, expected one of numbers",
    ),
    "a result of 100 MB": (
        "def shear(x, k):\n    return np.zeros(12_500_000)",
        "a visible test: ValueError: got an array of 100 MB, expected at most 16",
    ),
    "leaving": ("def shear(x, k):\n    raise SystemExit(0)", "a visible test: SystemExit: 0"),
    "killing all that it sees": (
        "import os\nimport signal\n\n\ndef shear(x, k):\n    os.kill(-1, signal.SIGKILL)\n    os.kill(os.getpid(), 9)",
        "a visible test: ProcessLookupError: [Errno 3] No such process",
    ),
    "hidden inputs in an exception": (
        "def shear(x, k):\n    if k:\n        raise AssertionError(f'SECRET {x.tolist()} {k}')\n    return x",
        "a hidden test: ends with AssertionError",
    ),
    "hidden inputs in the name of an exception": (
        "def shear(x, k):\n    if k:\n        raise type(f'SECRET{k}', (Exception,), {})\n    return x",
        "a hidden test: ends with an exception",
    ),
}

DET = "from minigen.foundations.determinants import det_leibniz as d"
FORBIDDEN = {
    "itself": (("def determinant(A):\n    return np.linalg.det(A)",), "np.linalg.det", 2),
    "by a helper": (
        ("from numpy.linalg import det as area", "def help_me(A):\n    return area(A)", "determinant = help_me"),
        "np.linalg.det",
        1,
    ),
    "by a helper in its own cell": (
        ("print()\n\n\ndef help_me(A):\n    return np.linalg.det(A)\n\n\ndef determinant(A):\n    return help_me(A)",),
        "np.linalg.det",
        5,
    ),
    "by an earlier one": (
        (
            "def determinant(A):\n    return np.linalg.det(A)",
            "old = determinant",
            "def determinant(A):\n    return old(A)",
        ),
        "np.linalg.det",
        2,
    ),
    "by a star": (("from numpy.linalg import *", "def determinant(A):\n    return det(A)"), "np.linalg.det", 1),
    "by getattr": (("def determinant(A):\n    return getattr(np.linalg, 'det')(A)",), "np.linalg.det", 2),
    "the engine": ((f"{DET}\ndeterminant = d",), "minigen.foundations.determinants.det_leibniz", 1),
    "the engine as a module": (
        ("import minigen.foundations.determinants as m", "def determinant(A):\n    return m.det_leibniz(A)"),
        "minigen.foundations.determinants.det_leibniz",
        2,
    ),
    "the engine by a star": (
        ("from minigen.foundations.determinants import *", "def determinant(A):\n    return det_leibniz(A)"),
        "minigen.foundations.determinants.*",
        1,
    ),
    "scipy": (
        ("import scipy", "def determinant(A):\n    return np.prod(np.diag(scipy.linalg.lu(A)[2]))"),
        "scipy.linalg.lu",
        2,
    ),
}

ALLOWED = {
    "in a cell of its own": ("def unused(A):\n    return np.linalg.det(A)",),
    "in a self-check below the answer": (
        f"{DETERMINANT}\n\n\nprint(determinant(np.eye(2)), np.linalg.det(np.eye(2)))",
    ),
    "in an import that is not used": (f"from numpy.linalg import det\n{DET}\n\n\n{DETERMINANT}",),
    "in a first draft": ("def determinant(A):\n    return np.linalg.det(A)", DETERMINANT),
}
