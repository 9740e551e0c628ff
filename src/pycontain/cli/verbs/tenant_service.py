"""tenant enable, disable, monitor, service: with the host, and as it happens."""

from __future__ import annotations

import os
import sys

from pycontain.cli.args import Argument, Flag, Options, Verb, integer, plain
from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.tenant.events import Seen
    from pycontain.tenant.place import Tenants

TENANTS = Argument("tenants", "Tenants' names or numbers.", metavar="TENANT", many=True, complete="tenant")
SOME = Argument("tenants", "Tenants' names or numbers.", metavar="TENANT", optional=True, many=True, complete="tenant")
ACTIONS = ("run", "started", "stop", "stopped", "onboot")

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
    for key in ("onboot", "parallel"):
        if not many and key in options.values and options.has(key):
            raise UsageError(f"--{key} is for --all")


ENABLE = Verb(
    "tenant enable",
    "Have tenants start with the host",
    (),
    (TENANTS,),
    description="Set boot.onboot to yes, but where it is as-before; and where systemd is the host's init, enable"
    " pycontain-tenant@NAME.service, with its place in the order of all that are enabled.",
    epilog="""
pycontain tenant enable web1 web2
""",
    handler="enable",
)
DISABLE = Verb(
    "tenant disable",
    "Have tenants not start with the host",
    (),
    (TENANTS,),
    description="Set boot.onboot to no, and disable the unit of systemd. A tenant that runs goes on.",
    handler="disable",
)
MONITOR = Verb(
    "tenant monitor",
    "Tell what happens to tenants, one line of JSON each",
    (),
    (SOME,),
    description="The first line has the tenants as they are; from then on: created, started, ready, stopped, rebooted,"
    " suspended, resumed, settings, oom, renamed, destroyed.",
    epilog="""
pycontain tenant monitor | jq -r 'select(.event == "stopped") | .tenant'
""",
    handler="monitor",
)
SERVICE = Verb(
    "tenant service",
    "What pycontain-tenant@.service runs",
    (
        Flag(
            "--parallel",
            "With run: how many tenants start at one time (default: the number of processors).",
            integer(1, 1024),
            "NUMBER",
        ),
    ),
    (
        Argument("action", "What to do: run, started, stop, stopped, onboot.", plain),
        Argument("tenant", "The tenant's name.", complete="tenant"),
    ),
    description="run starts a tenant and becomes its monitor, in the foreground; started, stop, stopped and onboot are"
    " the other commands of the unit. Any other supervisor of processes may use run and stop, too.",
    handler="service",
)


# --- what they do -------------------------------------------------------------------------------------------------


def tenants_of(options: Options) -> Tenants:
    from pycontain.cli.verbs import tenant

    return tenant.tenants_of(options)


def enable(options: Options) -> int:
    return _switch(options, True)


def disable(options: Options) -> int:
    return _switch(options, False)


def _switch(options: Options, on: bool) -> int:
    from pycontain.tenant import boot, file, service
    from pycontain.tenant.hold import hold

    tenants = tenants_of(options)
    names = [tenants.find(text) for text in options.many("tenants")]
    if service.booted():
        service.need_units()
    for name in names:
        with hold(tenants, name) as held:
            was = held.settings().boot.onboot
            now = boot.NO if not on else was if was != boot.NO else boot.YES
            if now != was:
                file.change(held.path, {"boot.onboot": now})
    warn(service.follow(tenants, names))
    if on and not service.ours(tenants):
        print("no systemd starts these: contrib/init.d/pycontain-tenants does, at boot", file=sys.stderr)
    return 0


def warn(lines: list[str]) -> None:
    """Lines of warning."""
    for line in lines:
        print(f"pycontain: warning: {line}", file=sys.stderr, flush=True)


# --- many ---------------------------------------------------------------------------------------------------------


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
    words = ["--fast"] if options.flag("fast") else []
    if options.has("timeout"):
        words += ["--timeout", str(options.number("timeout"))]
    at_once = options.number("parallel") or crew.processors()
    good = boot.stop_all(found, lambda name: [*command(options), "tenant", "stop", *words, name], at_once, _say)
    return 0 if good else 1


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def command(options: Options) -> list[str]:
    """The words that run this very pycontain, on the same tenants."""
    packages = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    code = f"import sys;sys.path.insert(0,{packages!r});from pycontain.cli.main import run;run()"
    words = [sys.executable or "/usr/bin/python3", "-I", "-S", "-c", code]
    words += ["--root", options.root, "--run-root", options.run_root, "--tenants", options.tenants]
    return words + (["--cgroup-manager", options.cgroup_manager] if options.cgroup_manager else [])


# --- monitor ------------------------------------------------------------------------------------------------------


def monitor(options: Options) -> int:
    """Until it is interrupted, or nobody reads it any more."""
    import json

    from pycontain.engine import state
    from pycontain.tenant.events import Watcher

    tenants = tenants_of(options)
    tenants.paths.prepare()
    wanted = {tenants.find(text) for text in options.many("tenants")}

    def put(head: dict[str, Any]) -> None:
        import time

        sys.stdout.write(json.dumps({"time": state.moment(time.time()), **head}, separators=(",", ":")) + "\n")
        sys.stdout.flush()

    def tell(name: str, number: int, what: dict[str, Any]) -> None:
        if wanted and name not in wanted and what.get("from") not in wanted:
            return
        put({"tenant": name, "id": number, **what})
        if what.get("from") in wanted:
            wanted.add(name)

    with Watcher(tenants, tell) as watcher:
        seen = watcher.begin()
        put(
            {
                "event": "watching",
                "tenants": {name: _word(one) for name, one in sorted(seen.items()) if not wanted or name in wanted},
            }
        )
        while watcher.wait(1):
            pass
    return 0


def _word(one: Seen) -> str:
    if one.life is None:
        return "stopped"
    return "suspended" if one.life.frozen else "running"


# --- service ------------------------------------------------------------------------------------------------------


def service(options: Options) -> int:
    """One of ACTIONS."""
    from pycontain.tenant import supervise

    action = options.text("action")
    if action not in ACTIONS:
        raise UsageError(f"{action!r} is none of {', '.join(ACTIONS)}")
    tenants = tenants_of(options)
    name = tenants.find(options.text("tenant"))
    if action == "run":
        supervise.run(tenants, name, options.number("parallel"))
    if action == "onboot":
        return 0 if supervise.onboot(tenants, name) else 1
    if action == "started":
        warn(supervise.started(tenants, name))
    elif action == "stop":
        warn(supervise.stop(tenants, name))
    else:
        supervise.stopped(tenants, name)
    return 0
