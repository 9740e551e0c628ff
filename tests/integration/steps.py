"""pycontain, killed at its n-th change of anything: files, names, directories, processes.

The interpreter tells an audit hook of each (sys.addaudithook), before it is done; at the n-th the process kills itself
as kill -9 does. So every point between two changes is met, and a failure says which.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tenant_world import TenantWorld

_DRIVER = """
import os, sys
sys.path.insert(0, {packages!r})
left = int(sys.argv.pop(1))
mark = sys.argv.pop(1)
CHANGES = frozenset(("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.symlink", "os.link", "os.fork", "os.exec"))
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def hook(event, arguments):
    global left
    if event in CHANGES or (event == "open" and arguments[2] & WRITES and arguments[0] != "/dev/null"):
        left -= 1
        if left == 0:
            left = -1  # a process that it has made may have no standard error any more
            at = os.open(mark, os.O_WRONLY | os.O_CREAT)
            os.write(at, ("killed at " + event + " " + " ".join(map(str, arguments[:1]))).encode())
            os.kill(os.getpid(), 9)
from pycontain.cli.main import run
sys.addaudithook(hook)
run()
"""


def killed_at(tenants: TenantWorld, step: int, *arguments: str) -> str:
    """Where it was killed, "" where it had fewer steps than that, and has succeeded."""
    driver = _DRIVER.format(packages=sysconfig.get_path("platlib"))
    with tempfile.TemporaryDirectory() as directory:
        mark = Path(directory) / "mark"
        words = [str(step), str(mark), *tenants.command[1:], *arguments]
        command = [sys.executable, "-I", "-S", "-c", driver, *words]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
        )
        where = mark.read_text() if mark.exists() else ""
    if where:
        # a process that it has made may have been the one: then it says what has become of it, or warns
        assert done.returncode in (-signal.SIGKILL, 125, 137) or "warning: " in done.stderr, done
        return where
    assert done.returncode == 0, done
    return ""
