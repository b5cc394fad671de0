"""Break the engine at random places, one at a time, and see whether the tests of that file notice.

    python -m venv build/mutate && build/mutate/bin/python -m pip install cosmic-ray
    build/mutate/bin/python -m tools.mutate                      # 200 mutants, an hour; --help tells the options

Cosmic Ray makes the changes. Of its operators only those are taken that leave a plausible formula (a sum for a
product, no shift of bits), and two are added that it does not have: a function for a related one, and a statement left
out. Places are drawn at random, then what happens there, so that a sign counts as much as a sum that could become many
things. Text, annotations, imports, decorators and error messages are left alone.

Each mutant runs the tests and doctests of its file, the table of bad input and the museum of real bugs, up to the first
failure, in a copy of the tree. What survives is the same function in other words, or a test that is missing: somebody
has to look.
"""

import argparse
import difflib
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import OPERATOR_PROVIDERS

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv" / "bin" / "python"
NOT_NUMERICAL = {"__init__.py", "display.py", "errors.py", "plot.py"}
TESTS = {"foundations/toy_base": "foundations/test_toys.py"}  # where they do not stand at the mirrored place
UNTOUCHED = {"fstring", "decorator", "import_name", "import_from", "raise_stmt", "tfpdef"}
ARITHMETIC = {"Add", "Sub", "Mul", "Div", "Pow"}
ORDER = {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"}
OTHERS = {
    "ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_Invert", "ReplaceUnaryOperator_Delete_Not",
    "NumberReplacer", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd", "AddNot",
    "ZeroIterationForLoop",
}  # fmt: skip
RELATED = [
    "exp log expm1 log1p", "tanh sigmoid softplus", "sum mean", "max min", "maximum minimum", "sin cos", "zeros ones",
    "tril triu", "floor ceil", "forward inverse", "normal uniform", "any all", "argmin argmax",
]  # fmt: skip


class SwapName(Operator):
    """A function for a related one, as exp for log."""

    def mutation_positions(self, node):
        if node.type == "name" and node.parent.type == "trailer":
            for other in self._others(node):
                yield node.start_pos, node.end_pos, other

    def mutate(self, node, index):
        node.value = self._others(node)[index]
        return node

    def _others(self, node):
        groups = (group.split() for group in RELATED)
        return [other for group in groups if node.value in group for other in group if other != node.value]

    @classmethod
    def examples(cls):
        return ()


class DropStatement(Operator):
    """A call for its effect left out, or an assignment to what already had a value."""

    def mutation_positions(self, node):
        function = node.search_ancestor("funcdef", "lambdef") if node.type == "simple_stmt" else None
        if function is None:
            return
        statement = node.children[0]
        names = {name.value for name in statement.get_defined_names()} if statement.type == "expr_stmt" else set()
        known = {leaf.value for leaf in ast_nodes(function) if leaf.type == "name" and leaf.start_pos < node.start_pos}
        if statement.type in ("atom_expr", "power") or (names and names <= known):
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        nothing = get_ast("pass\n").children[0].children[0]
        nothing.prefix = node.get_first_leaf().prefix
        node.children[0] = nothing
        return node

    @classmethod
    def examples(cls):
        return ()


def operators():
    (core,) = OPERATOR_PROVIDERS.values()
    plausible = [name for name in core if name in OTHERS]
    for kind, symbols in (("ReplaceBinaryOperator", ARITHMETIC), ("ReplaceComparisonOperator", ORDER)):
        plausible += [name for name in core if name.startswith(kind) and set(name.split("_")[1:]) <= symbols]
    return [core[name]() for name in plausible] + [SwapName(), DropStatement()]


def is_untouched(node):
    while node is not None:
        parent = node.parent
        in_annotation = parent is not None and parent.type == "annassign" and node is parent.children[1]
        if in_annotation or node.type in UNTOUCHED:
            return True
        node = parent
    return False


def places(file):
    """Return place -> the mutations (operator, occurrence) that are possible there."""
    found = {}
    nodes = list(ast_nodes(get_ast(file.read_text(encoding="utf-8"))))
    for operator in operators():
        occurrence = 0
        for node in nodes:
            for start, *_ in operator.mutation_positions(node):
                if not is_untouched(node):
                    found.setdefault((file, start), []).append((operator, occurrence))
                occurrence += 1
    return found


def tests_of(file, tree):
    name = file.relative_to(ROOT / "minigen").with_suffix("").as_posix()
    part, _, stem = name.rpartition("/")
    folder = tree / "tests" / part
    own = [tree / "tests" / TESTS[name]] if name in TESTS else sorted(folder.glob(f"test_{stem}*.py"))
    own = own or sorted(folder.glob("test_*.py"))
    others = ("test_bad_input.py", "mutants/test_museum.py")
    return [*own, tree / file.relative_to(ROOT), *(tree / "tests" / name for name in others)]


def run_tests(file, tree, timeout):
    """Return "survived", "killed" or "timeout"."""
    command = [PYTHON, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--doctest-modules", *tests_of(file, tree)]
    env = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=env, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return "timeout"
    return "survived" if done.returncode == 0 else "killed"


def report(results):
    """Return the table by files, and the survivors' changes."""
    lines = ["| file | killed | survived | timeout |", "|---|---|---|---|"]
    for file in sorted({file for file, _, _ in results}):
        count = Counter(outcome for other, outcome, _ in results if other == file)
        lines.append(f"| `{file}` | {count['killed']} | {count['survived']} | {count['timeout']} |")
    count = Counter(outcome for _, outcome, _ in results)
    share = 1 - count["survived"] / len(results)
    lines += [
        f"| all | {count['killed']} | {count['survived']} | {count['timeout']} |",
        "",
        f"{share:.1%} noticed.",
        "",
    ]
    lines += [f"```diff\n{change}\n```\n" for _, outcome, change in results if outcome == "survived"]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="of minigen; by default all with numbers in them")
    parser.add_argument("-n", type=int, default=200, help="how many mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutants.md")
    arguments = parser.parse_args()
    files = [file.resolve() for file in arguments.files] or sorted((ROOT / "minigen").rglob("*.py"))
    candidates = {}
    for file in files:
        if file.name not in NOT_NUMERICAL:
            candidates |= places(file)
    rng = random.Random(arguments.seed)
    drawn = rng.sample(sorted(candidates), min(arguments.n, len(candidates)))  # the first 50 are as random as all
    print(f"{len(drawn)} of {len(candidates)} places")
    os.nice(10)
    results, allowed = [], {}
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        leave_out = shutil.ignore_patterns(".*", "_build", "build", "__pycache__", "benchmarks")
        shutil.copytree(ROOT, tree, ignore=leave_out)
        for file, start in drawn:
            name, target = file.relative_to(ROOT), tree / file.relative_to(ROOT)
            code = target.read_text(encoding="utf-8")
            mutation = rng.choice(candidates[file, start])
            if file not in allowed:
                began = time.monotonic()
                sound = run_tests(file, tree, None) == "survived"
                allowed[file] = 30 + 5 * (time.monotonic() - began) if sound else None
                print(f"{name}: {time.monotonic() - began:.0f} s" if sound else f"{name}: its tests fail as it is")
            if allowed[file] is None:
                continue
            mutant = mutate_code(code, *mutation)
            change = "\n".join(
                difflib.unified_diff(code.split("\n"), mutant.split("\n"), str(name), "", n=1, lineterm="")
            )
            target.write_text(mutant, encoding="utf-8")
            outcome = run_tests(file, tree, allowed[file])
            target.write_text(code, encoding="utf-8")
            results.append((name.as_posix(), outcome, change))
            print(f"{outcome:9} {name}:{start[0]}", flush=True)
            arguments.out.parent.mkdir(exist_ok=True)
            arguments.out.write_text(report(results), encoding="utf-8")
    print(report(results))


if __name__ == "__main__":
    main()
