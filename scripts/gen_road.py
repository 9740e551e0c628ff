"""gen_road.py PACKAGE OUTPUT: the code of all modules of a package in one file, for src/pycontain/road.py.

Made at build time by the interpreter that the build is for. Format: the magic number of that interpreter's byte code
(importlib.util.MAGIC_NUMBER), the length of the file and of the index (8 bytes each, little endian), the index
(marshal: name → (is a package, offset, size)), and the marshalled code objects.
"""

import ast
import importlib.util
import marshal
import sys
from pathlib import Path


def strip(tree: ast.Module, annotations: bool) -> ast.Module:
    """Without docstrings, and without annotations of functions where nobody reads them: all that would be loaded."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if ast.get_docstring(node, clean=False) is not None:
                node.body[0:1] = [] if len(node.body) > 1 or isinstance(node, ast.Module) else [ast.Pass()]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and annotations:
            node.returns = None
        if isinstance(node, ast.arg) and annotations:
            node.annotation = None
    return ast.fix_missing_locations(tree)


package, output = Path(sys.argv[1]), Path(sys.argv[2])
index: dict[str, tuple[bool, int, int]] = {}
body = b""
for path in sorted(package.rglob("*.py")):
    parts = path.relative_to(package.parent).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    if name in ("pycontain", "pycontain.road"):
        continue  # they are there before this is read
    # typer reads those of the command line
    tree = strip(ast.parse(path.read_bytes()), annotations=parts[1] != "cli")
    code = marshal.dumps(compile(tree, str(path.relative_to(package.parent)), "exec", dont_inherit=True))
    index[name] = (is_package, len(body), len(code))
    body += code
table = marshal.dumps(index)
size = 20 + len(table) + len(body)
head = importlib.util.MAGIC_NUMBER + size.to_bytes(8, "little") + len(table).to_bytes(8, "little")
output.write_bytes(head + table + body)
