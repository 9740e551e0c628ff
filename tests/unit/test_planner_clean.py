"""What one request of the planner's leaves behind, the next one does not see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys, types
from _signal import SIGTERM, SIG_IGN, signal
from pycontain.planner.clean import HIGH, Clean, deaf, move

module = types.ModuleType("pycontain.made_up")
class Thing:
    shared: list[str] = []
    number = 1
Thing.__module__ = module.__name__
module.Thing, module.number, module.table, module.seen, module.empty = Thing, 1, {"a": 1}, {1}, []
sys.modules[module.__name__] = module
kept = move(os.open("/dev/null", os.O_RDONLY))
clean = Clean()
clean.settle()

module.number = 2
module.table["b"] = 2
module.seen.add(2)
module.empty.append(1)
Thing.number = 3
Thing.shared.append("x")
os.environ["LEFT"] = "1"
os.chdir("/tmp")
left = os.open("/dev/null", os.O_RDONLY)
assert clean.restore()
assert (module.number, module.table, module.seen, module.empty) == (1, {"a": 1}, {1}, [])
assert (Thing.number, Thing.shared) == (1, [])
assert not os.environ and os.getcwd() == "/"
try:
    os.fstat(left)
    raise SystemExit("a descriptor is left")
except OSError:
    os.fstat(kept)
assert [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3

if sys.argv[1] == "signal":
    signal(SIGTERM, SIG_IGN)
else:
    sys.modules["pycontain.late"] = types.ModuleType("pycontain.late")
sys.exit(0 if clean.restore() is False else 5)
"""


def _run(tmp_path: Path, way: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "script.py").write_text(SCRIPT)
    words = [sys.executable, str(tmp_path / "script.py"), way]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False)


def test_it_is_set_back(tmp_path: Path) -> None:
    done = _run(tmp_path, "signal")
    assert done.returncode == 0, done


def test_a_module_more_ends_the_process(tmp_path: Path) -> None:
    done = _run(tmp_path, "module")
    assert done.returncode == 0, done
