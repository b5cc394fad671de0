"""What the text of a cell says, without running it: names it defines or reads, forbidden names, bad syntax."""

import ast
import builtins
import contextlib
import symtable

NOT_READ = (SyntaxError, ValueError, RecursionError, MemoryError)  # what Python says of a text that it cannot read


def defined(source):
    r"""Return the names that the text binds at its top level (functions, classes, variables, imports).

    >>> sorted(defined("import numpy as np\ndef f(x):\n    y = x\n    return y\na, b = 1, 2"))
    ['a', 'b', 'f', 'np']
    """
    table = symtable.symtable(source, "<cell>", "exec")
    return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}


def imported(source):
    """Return the names that import statements bind, anywhere in the text."""
    return set(_imports(ast.parse(source)))


def borrowed(source):
    r"""Return the names that the text reads but neither binds nor finds among the builtins.

    >>> sorted(borrowed("import math\nassert all(math.sqrt(x) > f(x) for x in points)"))
    ['f', 'points']
    """
    table = symtable.symtable(source, "<cell>", "exec")
    read = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    children = table.get_children()
    while children:
        child = children.pop()
        children.extend(child.get_children())
        read |= {symbol.get_name() for symbol in child.get_symbols() if symbol.is_global() and symbol.is_referenced()}
    return read - defined(source) - set(dir(builtins)) - {"__name__"}


def forbidden(source, forbid, imports):
    r"""Return the forbidden names that the text uses, whatever alias it uses them by, as lines to print.

    `forbid` holds dotted names as the text of `imports` (the notebook's first code cell) spells them. A name also
    forbids all that lies inside it. `autograd.numpy` counts as NumPy. What is hidden on purpose, say in a
    dictionary of functions, is not found: this catches short-cuts, not attacks.

    >>> forbidden("from numpy.linalg import det as d\ndef f(a):\n    return d(a)", ["np.linalg.det"],
    ...           "import numpy as np")
    ['line 1: np.linalg.det', 'line 3: np.linalg.det']
    """
    here = _imports(ast.parse(imports))
    tree = ast.parse(source)
    aliases = here | _imports(tree)
    wanted = {_resolve(text, here): text for text in forbid}
    uses = set()

    def note(full, line):
        for target, text in wanted.items():
            if full == target or full.startswith(target + "."):
                uses.add((line, text))

    for node in _in_order(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = _canonical(f"{node.module}")
                inside = [whole, *(target for target in wanted if target.startswith(f"{whole}."))]
                for full in inside if alias.name == "*" else [f"{whole}.{alias.name}"]:
                    note(_canonical(full), node.lineno)
        elif isinstance(node, ast.Assign | ast.NamedExpr) and (dotted := _dotted(node.value)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            # a use under its new name; the right-hand side itself is noted when the walk comes to it
            aliases |= {target.id: _resolve(dotted, aliases) for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Attribute | ast.Name | ast.Call) and (dotted := _dotted(node)):
            note(_resolve(dotted, aliases), node.lineno)
    return [f"line {line}: {text}" for line, text in sorted(uses)]


def reseeded(source, seed):
    r"""Return a test cell's tree in which the generators of the hidden tests start from their seed and `seed`.

    >>> text = "### BEGIN HIDDEN TESTS\nrng = default_rng(3)\n### END HIDDEN TESTS\nsame = default_rng(0)"
    >>> print(ast.unparse(reseeded(text, 7)))
    rng = default_rng([7, 3])
    same = default_rng(0)
    """
    tree, hidden, inside = ast.parse(source), set(), False
    for number, line in enumerate(source.split("\n"), start=1):
        inside = inside and "END HIDDEN TESTS" not in line or "BEGIN HIDDEN TESTS" in line
        hidden |= {number} if inside else set()
    for node in ast.walk(tree):
        named = isinstance(node, ast.Call) and (_dotted(node.func) or "").endswith("default_rng")
        if seed is not None and named and node.lineno in hidden:
            entropy = ast.List([ast.Constant(seed), *node.args], ast.Load())
            node.args = [ast.copy_location(entropy, node)]
    return ast.fix_missing_locations(tree)


def plain(source):
    r"""Return a cell's text as Python: lines of IPython, which begin with % or !, are emptied in what is none.

    >>> plain("%matplotlib inline\nx = 1")
    '\nx = 1'
    """
    try:
        ast.parse(source)
    except NOT_READ:
        return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.split("\n"))
    return source


def syntax_error(text):
    """Return the line of a cell that is not Python and what is wrong there, or None."""
    try:
        defined(text)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except NOT_READ as error:
        return f"{type(error).__name__}: {error}"
    return None


def definitions(text):
    """Return what `defined` does, and nothing for a text that is not Python."""
    try:
        return defined(text)
    except NOT_READ:
        return set()


def with_helpers(cells, owner):
    """Return the answer's text after all statements of other cells that define what it uses, directly or not."""
    statements = []
    for number, text in enumerate(cells):
        with contextlib.suppress(*NOT_READ):
            lines = [ast.unparse(node) for node in ast.parse(text).body if number != owner]
            statements += [(line, definitions(line)) for line in lines]
    used, wanted = [], borrowed(cells[owner])
    while more := [item for item in statements if item[1] & wanted and item not in used]:
        used += more
        wanted |= set().union(*(borrowed(text) for text, _ in more))
    if wanted - set().union(*(names for _, names in statements)):
        used += [item for item in statements if item[0].endswith("import *")]
    return "\n".join([*(text for text, _ in used), cells[owner]])


def _in_order(tree):
    return sorted((node for node in ast.walk(tree) if hasattr(node, "lineno")), key=lambda node: node.lineno)


def _imports(tree):
    """Map each name bound by an import to the full dotted name that it stands for."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                head = alias.name if alias.asname else alias.name.split(".")[0]
                found[alias.asname or head] = _canonical(head)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: _canonical(f"{node.module}.{alias.name}") for alias in node.names}
    return found


def _canonical(full):
    return full.removeprefix("autograd.") if full.startswith("autograd.numpy") else full


def _resolve(dotted, aliases):
    head, _, rest = dotted.partition(".")
    full = aliases.get(head, head)
    return _canonical(f"{full}.{rest}" if rest else full)


def _dotted(node):
    """Return `a.b.c` for such an expression or for getattr(a.b, "c"), else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner, last = _dotted(node.value), node.attr
    elif isinstance(node, ast.Call) and _dotted(node.func) == "getattr" and len(node.args) > 1:
        inner, last = _dotted(node.args[0]), getattr(node.args[1], "value", None)
    else:
        return None
    return f"{inner}.{last}" if inner and isinstance(last, str) else None
