"""What the text of a cell says, without running it: names it defines or reads, forbidden names, bad syntax."""

import ast
import builtins
import contextlib
import re
import symtable

NOT_READ = (SyntaxError, ValueError, RecursionError, MemoryError)  # what Python says of a text that it cannot read
LIBRARIES = {"minigen", "scipy"}  # they hold what the exercises ask for


def defined(source):
    r"""Return the names that the text binds at its top level, none if it is not Python.

    >>> sorted(defined("import numpy as np\ndef f(x):\n    y = x\n    return y\na, b = 1, 2"))
    ['a', 'b', 'f', 'np']
    """
    with contextlib.suppress(*NOT_READ):
        symbols = symtable.symtable(source, "<cell>", "exec").get_symbols()
        return {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}
    return set()


def statements(source):
    """Return the statements of the text's top level as (tree, text, names that it binds); none if it is not Python."""
    with contextlib.suppress(*NOT_READ):
        found = [(node, ast.unparse(node)) for node in ast.parse(source).body]
        return [(node, text, defined(text)) for node, text in found]
    return []


def would_define(source, name):
    """Say whether the text binds a name at its top level, or would if it were Python."""
    begins = rf"^(?:(?:def|class)\s+{name}\b|{name}\s*=|(?:from\s.*)?import\b.*\b{name}\b)"
    return name in defined(source) or bool(syntax_error(source) and re.search(begins, source, re.MULTILINE))


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


def forbidden(cells, parsed, owner, names, forbid, imports):
    r"""Return the names that an answer uses and may not, whatever alias it uses them by, each with its first line.

    Searched are the statements (`parsed`, by cell) of the cell `owner` that bind the answer's `names`, and those of all
    cells that these use, directly or not. `forbid` holds dotted names as the text of `imports` (the notebook's own code
    cells) spells them. A name also forbids all that lies inside it, and of some libraries everything is forbidden but
    what `imports` imports. `autograd.numpy` counts as NumPy. What is hidden on purpose, say in a dictionary of
    functions, is not found: this catches short-cuts, not attacks.

    >>> cell = "from numpy.linalg import det as d\nf = lambda a: d(a)\nprint(f([[1]]))\nfrom scipy.linalg import lu"
    >>> forbidden([cell], [statements(cell)], 0, {"f"}, ["np.linalg.det"], "import numpy as np")
    ['np.linalg.det, which this exercise does not allow: line 1, `from numpy.linalg import det as d`']
    """
    here = imports_of(ast.parse(imports))
    used = _used(parsed, owner, names)
    aliases = here.copy()
    for _, node in used:
        aliases |= imports_of(node)
    wanted = {_resolve(text, here): text for text in forbid}
    uses = {}

    def note(full, number, node):
        found = [text for target, text in wanted.items() if _inside(full, target)]
        if full.partition(".")[0] in LIBRARIES:
            found += [] if any(_inside(full, ours) or _inside(ours, full) for ours in here.values()) else [full]
        for text in found:
            line = f"line {node.lineno}, `{cells[number].splitlines()[node.lineno - 1].strip()}`"
            uses.setdefault(text, f"{text}, which this exercise does not allow: {line}")

    parts = set()  # of dotted names: np in np.linalg
    for number, node in ((number, node) for number, statement in used for node in _in_order(statement)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = _canonical(f"{node.module}")
                star = [full for full in wanted if alias.name == "*" and _inside(full, whole)]
                for full in [*star, _canonical(f"{whole}.{alias.name}")]:
                    note(full, number, node)
        elif isinstance(node, ast.Assign | ast.NamedExpr) and (dotted := _dotted(node.value)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            # a use under its new name; the right-hand side itself is noted when the walk comes to it
            aliases |= {target.id: _resolve(dotted, aliases) for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Attribute | ast.Name | ast.Call) and (dotted := _dotted(node)):
            if node not in parts:
                note(_resolve(dotted, aliases), number, node)
            parts |= {node.args[0] if isinstance(node, ast.Call) else getattr(node, "value", None)}
    return list(uses.values())


def _used(parsed, owner, names):
    """Return the statements to be searched in their order, each with the number of its cell."""
    found = [(number, *item) for number, cell in enumerate(parsed) for item in cell]
    used, more = [], [item for item in found if item[0] == owner and item[3] & names]
    wanted = names - set().union(*(item[3] for item in more))
    while more:
        used += more
        wanted |= set().union(*(borrowed(text) for _, _, text, _ in more))
        more = [item for item in found if item[3] & wanted and item not in used]
    if wanted - set().union(*(item[3] for item in found)):
        used += [item for item in found if isinstance(item[1], ast.ImportFrom) and item[1].names[0].name == "*"]
    return [item[:2] for item in found if item in used]


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
        symtable.symtable(text, "<cell>", "exec")
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except NOT_READ as error:
        return f"{type(error).__name__}: {error}"
    return None


def _in_order(tree):
    return sorted((node for node in ast.walk(tree) if hasattr(node, "lineno")), key=lambda node: node.lineno)


def imports_of(tree):
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


def _inside(full, outer):
    return f"{full}.".startswith(f"{outer}.")


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
