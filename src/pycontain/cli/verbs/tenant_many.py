"""start --all and stop --all: many tenants at one time, each by a command of its own."""

from __future__ import annotations

import os
import sys

from pycontain.cli.args import Flag, Options, integer
from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.place import Tenants

ALL = Flag("-a, --all", "All tenants there are, in their order.")
PARALLEL = Flag(
    "--parallel",
    "How many at one time, with --all (default: the number of processors).",
    integer(1, 1024),
    "NUMBER",
)
ONBOOT = Flag("--onboot", "With --all: those that start with the host, as boot.onboot says.")


def check_all(options: Options) -> None:
    """Names, or all of them. Raises UsageError."""
    many = options.flag("all")
    if many == bool(options.many("tenants")):
        raise UsageError("--all and names cannot be together" if many else "name tenants, or give --all")
    if many and options.values.get("rescue"):
        raise UsageError("--rescue is for one tenant, not for --all")
    for key in ("onboot", "parallel"):
        if not many and key in options.values and options.has(key):
            raise UsageError(f"--{key} is for --all")


# --- what they do -------------------------------------------------------------------------------------------------


def tenants_of(options: Options) -> Tenants:
    """Where this command's tenants are."""
    from pycontain.cli.verbs import tenant

    return tenant.tenants_of(options)


def warn(lines: list[str]) -> None:
    """Lines of warning."""
    for line in lines:
        print(f"pycontain: warning: {line}", file=sys.stderr, flush=True)


def start_all(options: Options) -> int:
    """tenant start --all [--onboot]"""
    from pycontain.tenant import boot, crew

    tenants = tenants_of(options)
    tenants.paths.prepare()
    found, problems = boot.turns(tenants, tenants.kept())
    if options.flag("onboot"):
        found = [one for one in found if boot.wanted(tenants, one)]
    found = [one for one in found if not boot.running(tenants, one.name)]
    warn(problems)
    more = ["--wait"] if options.values.get("wait") else []
    at_once = options.number("parallel") or crew.processors()
    good = boot.start_all(found, lambda name: [*command(options), "tenant", "start", *more, name], at_once, _say)
    return 0 if good and not problems else 1


def stop_all(options: Options) -> int:
    """tenant stop --all: what runs is remembered for those that start as before."""
    from pycontain.tenant import boot, crew

    tenants = tenants_of(options)
    names = [name for name in tenants.kept() if boot.running(tenants, name)]
    for name in names:
        boot.remember(tenants, name)
    found, _ = boot.turns(tenants, names)
    # settings that cannot be read are no reason to let a tenant run: it comes with order 0
    known = {one.name for one in found}
    found += [boot.Turn(name) for name in names if name not in known]
    # what the host's going down is for
    words = ["--fast"] if options.flag("fast") else ["--shutdown"]
    if options.has("timeout"):
        words += ["--timeout", str(options.number("timeout"))]
    at_once = options.number("parallel") or crew.processors()
    good = boot.stop_all(found, lambda name: [*command(options), "tenant", "stop", *words, name], at_once, _say)
    return 0 if good else 1


def _say(line: str, name: bool) -> None:
    print(line, file=sys.stdout if name else sys.stderr, flush=True)


def command(options: Options) -> list[str]:
    """The words that run this very pycontain, on the same tenants."""
    packages = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    code = f"import sys;sys.path.insert(0,{packages!r});from pycontain.cli.main import run;run()"
    words = [sys.executable or "/usr/bin/python3", "-I", "-S", "-c", code]
    words += ["--root", options.root, "--run-root", options.run_root, "--tenants", options.tenants]
    return words + (["--cgroup-manager", options.cgroup_manager] if options.cgroup_manager else [])
