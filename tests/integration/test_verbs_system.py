"""system tune: in namespaces of the test's own, so that the machine keeps its limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from world import PYCONTAIN, World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces")


def tuned(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in mount and user namespaces of its own; the second has limits of its own: sysctls user.max_*."""
    setup = f"export PYCONTAIN={PYCONTAIN} PYTHON={sys.executable}; {script}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-euc", setup]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_limit_of_the_kernel_is_raised() -> None:
    """The other sysctls are the machine's, and refuse us: so only those of the namespace are looked at."""
    done = tuned("""
        echo 50 >/proc/sys/user/max_net_namespaces
        "$PYTHON" - <<'EOF'
from pycontain.engine import capacity
found = [one for one in capacity.limits() if one.name == "user.max_net_namespaces"]
print(found[0].value, found[0].guests)
capacity.apply(capacity.plan(found, 1000))
EOF
        cat /proc/sys/user/max_net_namespaces
    """)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "50 34\n2048\n")


def test_a_refusal_is_one_line_and_takes_back_what_was_set(world: World) -> None:
    """In a user namespace: user.* may be set, kernel.* may not."""
    done = tuned("""
        echo 50 >/proc/sys/user/max_net_namespaces
        "$PYTHON" - <<'EOF'
import sys
from pycontain.engine import capacity
from pycontain.kernel.errors import Error
found = capacity.limits()
changes = sorted(capacity.plan(found, 10**6), key=lambda change: not change.name.startswith("user."))
try:
    capacity.apply(changes)
except Error as error:
    print(error.message)
EOF
        cat /proc/sys/user/max_net_namespaces
    """)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == ""
    assert lines[0].startswith("cannot set sysctl ") and lines[1:] == ["50"]


def test_a_dry_run_sets_nothing(world: World) -> None:
    before = {path: path.read_text() for path in Path("/proc/sys/kernel").glob("*max*") if os.access(path, os.R_OK)}
    text = world.ok("system", "tune", "--dry-run", "--save", "--guests", "1000000")
    assert text.startswith("# pycontain system tune --guests 1000000\n")
    assert "kernel.pid_max = 4194304" in text
    assert {path: path.read_text() for path in before} == before
    assert not Path("/etc/sysctl.d/90-pycontain.conf").exists()


def test_info_says_what_bites_first(world: World) -> None:
    guests = json.loads(world.ok("info", "--format", "json"))["Guests"]
    first = guests.pop("FirstToBite")
    assert guests["kernel.pid_max"]["limit"] == int(Path("/proc/sys/kernel/pid_max").read_text())
    assert min(guests.values(), key=lambda one: one["guests"])["guests"] == guests[first]["guests"]


@pytest.mark.parametrize("flags", [("--guests", "0"), ("--guests", "many"), ("--lower",)])
def test_bad_input(world: World, flags: tuple[str, ...]) -> None:
    assert flags[0] in world.refused("system", "tune", *flags)
