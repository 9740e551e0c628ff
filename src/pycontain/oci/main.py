"""``pycontain-oci``: an OCI runtime with runc's command line."""

from __future__ import annotations

import os
import sys

from pycontain import __version__
from pycontain.kernel import rootless
from pycontain.kernel.errors import Error, UsageError, os_text
from pycontain.oci import state
from pycontain.oci.arguments import Call, is_true, parse
from pycontain.oci.options import GLOBAL, VERBS
from pycontain.oci.report import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

_USAGE = """usage: pycontain-oci [--root DIR] [--log FILE] [--log-format text|json] [--debug] [--systemd-cgroup]
                     [--cgroup-manager cgroupfs|systemd] [--missing-controllers error|warn]
                     [--rootless auto|true|false] [--criu PROGRAM] [--trace FILE] VERB [OPTIONS] [ID]

  create [-b BUNDLE] [-f CONFIG] [--pid-file FILE] [--console-socket SOCKET] [--pidfd-socket SOCKET] [--preserve-fds N]
         [--no-pivot] [--no-new-keyring] ID
  start ID
  run [-d] [--keep] [options of create] ID   create, start, wait for the end, delete
  exec [-dt] [-u UID[:GID]] [-g GID] [-e NAME=VALUE] [--cwd DIR] [-c CAP] [--cgroup PATH] [--no-new-privs]
       [--ignore-paused] [--pid-file FILE] [--console-socket SOCKET] [--pidfd-socket SOCKET] [--preserve-fds N]
       ID COMMAND [ARGUMENT...]   or   exec [options] -p FILE ID
  state ID
  list [-q] [-f table|json]
  ps [-f table|json] ID [OPTIONS OF PS]
  kill [-a] ID [SIGNAL]   or   kill [-a] -r REGEX [SIGNAL]
  delete [-f] ID   or   delete [-f] -r REGEX
  pause ID
  resume ID
  update [-r FILE|-] [--memory SIZE] [--pids-limit NUMBER] ... ID   change limits of a container that runs
  events [--stats] [--interval 5s] ID  print figures and OOM kills until the container ends
  spec [-b DIR] [--rootless]           write a config.json to begin with
  checkpoint [--image-path DIR] [--work-path DIR] [--leave-running] [--tcp-established] [--file-locks] ... ID
  restore [-d] [-b BUNDLE] [--image-path DIR] [--work-path DIR] [--pid-file FILE] [--console-socket SOCKET] ... ID
  features                             print what this runtime can do, as JSON
  plan [-f text|json] [BUNDLE]         print the launch plan of a bundle

pycontain-oci(8) has more.
"""


#: verb → module below this room, function; a start imports its own verb and no other.
_FUNCTIONS = {
    "checkpoint": ("checkpoint", "checkpoint"),
    "create": ("create", "create"),
    "delete": ("delete", "delete"),
    "events": ("events", "events"),
    "exec": ("execute", "execute"),
    "features": ("features", "show"),
    "kill": ("kill", "kill"),
    "list": ("show", "show_list"),
    "pause": ("freeze", "pause"),
    "plan": ("show_plan", "show_plan"),
    "ps": ("ps", "ps"),
    "restore": ("restore", "restore"),
    "resume": ("freeze", "resume"),
    "run": ("create", "create"),
    "spec": ("template", "write"),
    "start": ("starting", "start"),
    "state": ("show", "show_state"),
    "update": ("update", "update"),
}


def _find(verb: str) -> Callable[[str, Call], int]:
    module, name = _FUNCTIONS[verb]
    function: Callable[[str, Call], int] = getattr(__import__(f"pycontain.oci.{module}", fromlist=["*"]), name)
    return function


def _check(globals_: dict[str, str]) -> None:
    """The values of the global options. Raises UsageError."""
    choices = (
        ("missing-controllers", ("error", "warn")),
        ("log-format", ("text", "json")),
        ("rootless", ("auto", "true", "false", "1", "0")),
    )
    _log_backend(globals_)
    for name, values in choices:
        if globals_.get(name, values[0]) not in values:
            raise UsageError(f"--{name}: {globals_[name]!r} is neither {' nor '.join(values[:3])}")


def _log_backend(globals_: dict[str, str]) -> None:
    """crun's ``--log BACKEND:PATH``, of which we have files. Raises UsageError."""
    backend, colon, path = globals_.get("log", "").partition(":")
    if colon and backend == "file":
        globals_["log"] = path
    elif colon and backend in ("syslog", "journald"):
        del globals_["log"]
        raise UsageError(f"--log: {backend} is not supported: give a file")


def main(argv: Sequence[str]) -> int:
    """Do what ``argv`` (without the program's name) says; the exit status: 1 for errors, 255 for exec's, as runc."""
    globals_ = _log_of(argv)
    try:
        call = parse(argv, GLOBAL, VERBS)
        globals_ = call.globals
        if is_true(globals_.get("version", "false")):
            print(f"pycontain-oci version {__version__}\nspec: {state.SPEC_VERSION}")
            return 0
        if not call.verb or "help" in globals_ or "help" in call.options:
            sys.stdout.write(_USAGE)
            return 0
        _check(globals_)
        if call.verb not in ("features", "spec") and os.geteuid() != 0:
            raise Error(rootless.problem() or "pycontain-oci needs to be root")
        return _find(call.verb)(os.path.abspath(globals_.get("root") or state.default_root()), call)
    except Error as error:
        report(error.message, globals_)
        return error.status if error.status == 255 else 1
    except OSError as error:
        report(f"{error.filename or 'a system call'}: {os_text(error)}", globals_)
    except UnicodeError as error:
        report(f"text that is no UTF-8: {error}", globals_)
    return 1


def _log_of(argv: Sequence[str]) -> dict[str, str]:
    """--log and --log-format as they stand at the front, for an error in the rest of the line."""
    found = {}
    for at, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name in ("--log", "--log-format"):
            found[name[2:]] = value if equals else "".join(argv[at + 1 : at + 2])
        elif not word.startswith("-") and (at == 0 or not argv[at - 1].startswith("-")):
            break
    return found


def run() -> NoReturn:
    """As the program."""
    status = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = status or 1
    os._exit(status)
