"""What a model's stored numbers depend on: a hash of the code behind them, blind to comments and docstrings."""

import ast
import hashlib
import importlib.util
from pathlib import Path


def syntax(path):
    """Return the syntax tree of a file without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def imports(tree):
    """Yield the modules that a tree imports; `from a import b` may name the module a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_file(name):
    """Return the file of a module of minigen or of the scoreboard's models, or None."""
    if not name.startswith(("minigen.", "tools.scoreboard.models.")):
        return None
    try:
        return Path(importlib.util.find_spec(name).origin)
    except (ModuleNotFoundError, AttributeError):  # a function of a module, not a module of a package
        return None


def sources_hash(name):
    """Return a SHA-256 over a model's recipe and every module that it, or the trainer, comes to import."""
    waiting = [f"tools.scoreboard.models.{name}", "minigen.train", "minigen.foundations.toys"]
    seen = {}
    while waiting:
        module = waiting.pop()
        path = module_file(module)
        if path is not None and module not in seen:
            tree = syntax(path)
            seen[module] = ast.dump(tree)
            waiting += imports(tree)
    return hashlib.sha256("\n".join(f"{module} {seen[module]}" for module in sorted(seen)).encode()).hexdigest()
