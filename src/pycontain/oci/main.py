"""``pycontain-oci``: an OCI runtime with runc's command line."""

from __future__ import annotations

import os
import sys

from pycontain import __version__
from pycontain.kernel.errors import Error
from pycontain.oci import state
from pycontain.oci.arguments import Call, parse
from pycontain.oci.report import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_CREATE = {"bundle", "pid-file", "console-socket"}
_CREATE_FLAGS = {"no-pivot", "no-new-keyring"}

#: verb → options with a value, flags
VERBS: dict[str, tuple[set[str], set[str]]] = {
    "create": (_CREATE, _CREATE_FLAGS),
    "run": (_CREATE, _CREATE_FLAGS),
    "start": (set(), set()),
    "state": (set(), set()),
    "kill": (set(), {"all"}),
    "delete": (set(), {"force"}),
    "list": ({"format"}, {"quiet"}),
    "plan": ({"bundle", "format"}, set()),
    "update": (
        # oci/update.py, OPTIONS; not imported from there: create must not pay for it
        set(
            "resources memory memory-swap memory-reservation cpu-period cpu-quota cpu-burst cpu-share cpu-idle "
            "cpu-rt-runtime cpu-rt-period pids-limit blkio-weight cpuset-cpus cpuset-mems l3-cache-schema "
            "mem-bw-schema kernel-memory kernel-memory-tcp".split()
        ),
        set(),
    ),
    "events": ({"interval"}, {"stats"}),
}

_USAGE = """usage: pycontain-oci [--root DIR] [--log FILE] [--log-format text|json] [--systemd-cgroup]
                     [--cgroup-manager cgroupfs|systemd] [--missing-controllers error|warn] VERB [OPTIONS] [ID]

  create [-b BUNDLE] [--pid-file FILE] [--console-socket SOCKET] ID
  run    [-b BUNDLE] ID          create, start, wait for the end, delete
  start ID
  state ID
  kill [--all] ID [SIGNAL]
  delete [--force] ID
  list [-q] [--format table|json]
  plan [--format text|json] [BUNDLE]   print the launch plan of a bundle
  update [-r FILE|-] [--memory SIZE] [--pids-limit NUMBER] ... ID   change limits of a container that runs
  events [--stats] [--interval 5s] ID  print figures and OOM kills until the container ends

pycontain-oci(8) has more.
"""


def _dispatch(root: str, call: Call) -> int:
    if call.verb in ("create", "run"):
        from pycontain.oci.create import create

        create(root, call, wait=call.verb == "run")
    if call.verb == "update":
        from pycontain.oci.update import update

        return update(root, call)
    if call.verb == "events":
        from pycontain.oci.events import events

        return events(root, call)
    from pycontain.oci import verbs

    table = {
        "start": verbs.start,
        "state": verbs.show_state,
        "kill": verbs.kill,
        "delete": verbs.delete,
        "list": verbs.show_list,
        "plan": verbs.show_plan,
    }
    return table[call.verb](root, call)


def main(argv: Sequence[str]) -> int:
    """Do what ``argv`` (without the program's name) says; the exit status: 1 for every error, as runc."""
    globals_: dict[str, str] = {}
    try:
        globals_, call = parse(argv, VERBS)
        if "version" in globals_:
            print(f"pycontain-oci version {__version__}\nspec: 1.2.0")
            return 0
        if not call.verb or "help" in globals_ or "help" in call.options:
            sys.stdout.write(_USAGE)
            return 0 if call.verb or "help" in globals_ else 1
        if os.geteuid() != 0:
            raise Error("pycontain-oci needs to be root")
        if globals_.get("missing-controllers", "error") not in ("error", "warn"):
            value = globals_["missing-controllers"]
            raise Error(f"--missing-controllers: {value!r} is neither error nor warn", 1)
        return _dispatch(globals_.get("root", state.DEFAULT_ROOT), call)
    except Error as error:
        report(error.message, globals_)
        return 1


def run() -> NoReturn:
    """As the program."""
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
