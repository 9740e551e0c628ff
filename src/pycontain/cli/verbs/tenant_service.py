"""tenant enable, disable, monitor, service: with the host, and as it happens."""

from __future__ import annotations

import sys

from pycontain.cli.args import Argument, Flag, Options, Verb, integer, plain
from pycontain.cli.verbs import tenant_many
from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.tenant.events import Seen

TENANTS = Argument("tenants", "Tenants' names or numbers.", metavar="NAME", many=True, complete="tenant")
SOME = Argument("tenants", "Tenants' names or numbers.", metavar="NAME", optional=True, many=True, complete="tenant")
ACTIONS = ("run", "started", "stop", "stopped", "onboot")

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
    epilog="""
pycontain tenant disable web1
""",
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
    epilog="""
pycontain tenant service run web1
""",
    handler="service",
)


# --- what they do -------------------------------------------------------------------------------------------------


def enable(options: Options) -> int:
    return _switch(options, True)


def disable(options: Options) -> int:
    return _switch(options, False)


def _switch(options: Options, on: bool) -> int:
    from pycontain.tenant import boot, file, service
    from pycontain.tenant.hold import hold

    tenants = tenant_many.tenants_of(options)
    names = [tenants.find(text) for text in options.many("tenants")]
    if service.booted():
        service.need_units()
    for name in names:
        with hold(tenants, name) as held:
            was = held.settings().boot.onboot
            now = boot.NO if not on else was if was != boot.NO else boot.YES
            if now != was:
                file.change(held.path, {"boot.onboot": now})
    tenant_many.warn(service.follow(tenants, names))
    if on and not service.ours(tenants):
        print("no systemd starts these: contrib/init.d/pycontain-tenants does, at boot", file=sys.stderr)
    return 0


# --- monitor ------------------------------------------------------------------------------------------------------


def monitor(options: Options) -> int:
    """Until it is interrupted, or nobody reads it any more."""
    import json

    from pycontain.engine import state
    from pycontain.tenant.events import Watcher

    tenants = tenant_many.tenants_of(options)
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
        return "suspended" if one.saved else "stopped"
    return "suspended" if one.life.frozen else "running"


# --- service ------------------------------------------------------------------------------------------------------


def service(options: Options) -> int:
    """One of ACTIONS."""
    from pycontain.tenant import supervise

    action = options.text("action")
    if action not in ACTIONS:
        raise UsageError(f"{action!r} is none of {', '.join(ACTIONS)}")
    tenants = tenant_many.tenants_of(options)
    name = tenants.find(options.text("tenant"))
    if action == "run":
        supervise.run(tenants, name, options.number("parallel"))
    if action == "onboot":
        return 0 if supervise.onboot(tenants, name) else 1
    if action == "started":
        tenant_many.warn(supervise.started(tenants, name))
    elif action == "stop":
        tenant_many.warn(supervise.stop(tenants, name))
    else:
        supervise.stopped(tenants, name)
    return 0
