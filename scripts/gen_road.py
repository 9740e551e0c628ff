"""gen_road.py PACKAGE OUTPUT: the code of all modules of a package in one file, for src/pycontain/road.py.

Made at build time by the interpreter that the build is for. Format: the magic number of that interpreter's byte code
(importlib.util.MAGIC_NUMBER), the length of the file and of the index (8 bytes each, little endian), the index
(marshal: name → (is a package, offset, size)), and the marshalled code objects.
"""

import importlib.util
import marshal
import sys
from pathlib import Path

package, output = Path(sys.argv[1]), Path(sys.argv[2])
index: dict[str, tuple[bool, int, int]] = {}
body = b""
for path in sorted(package.rglob("*.py")):
    parts = path.relative_to(package.parent).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    if name in ("pycontain", "pycontain.road"):
        continue  # they are there before this is read
    code = marshal.dumps(compile(path.read_bytes(), str(path.relative_to(package.parent)), "exec", dont_inherit=True))
    index[name] = (is_package, len(body), len(code))
    body += code
table = marshal.dumps(index)
size = 20 + len(table) + len(body)
head = importlib.util.MAGIC_NUMBER + size.to_bytes(8, "little") + len(table).to_bytes(8, "little")
output.write_bytes(head + table + body)
