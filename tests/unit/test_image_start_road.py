"""What 'pycontain run' imports of image and storage (docs/design.md, "The start road")."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCE = str(Path(__file__).parents[2] / "src")
#: docs/design.md
FORBIDDEN = {
    "json", "re", "enum", "typing", "dataclasses", "pathlib", "subprocess", "argparse", "logging", "socket", "signal",
    "struct", "ctypes", "shutil", "tempfile", "hashlib", "pydantic", "typer", "rich", "pyroute2", "prctl", "tomllib",
}  # fmt: skip
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pycontain.image import reference, store
from pycontain.storage import container_dir, lookup, overlay, users
root = sys.argv[2]
path = container_dir.make(root, "c1")
assert store.lookup(root, "busybox") is None
overlay.lower(["aa"])
lookup.find_in([path + "/upper"], "etc/passwd", 100)
users.resolve_user("1:2", None, None)
print(" ".join(sys.modules))
"""


def test_nothing_slow_is_imported(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", SCRIPT, SOURCE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "pycontain.image.store" in modules
    assert modules & FORBIDDEN == set()
