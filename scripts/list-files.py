"""list-files.py DIRECTORY [SUFFIX...]: the files below a directory that are to be installed, one a line."""

import sys
from pathlib import Path

directory, suffixes = Path(__file__).parent.parent / sys.argv[1], sys.argv[2:]
for path in sorted(directory.rglob("*")):
    parts = path.relative_to(directory).parts
    hidden = any(part.startswith((".", "__pycache__")) for part in parts)
    if path.is_file() and not path.is_symlink() and not hidden and (not suffixes or path.suffix in suffixes):
        print("/".join(parts))
