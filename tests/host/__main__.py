"""python -m tests.host run SCRIPT: a shell script in a disposable host."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.host import criu, debian, images, lxcfs, machine

_RUN = f"""\
Boots a User-mode Linux kernel with cgroup v2 and the controllers cpu, io, memory and pids, and runs SCRIPT in it as
root with /bin/sh. Needs root, x86-64 and the packages user-mode-linux, busybox-static and mmdebstrap.

The host's / is a small Debian of this machine's release, made at first use (half a minute, from the network) and kept
in $PYCONTAIN_TESTS_CACHE (else ~/.cache/pycontain-tests). This checkout is at its place, read-only; pycontain is on the
path, its image busybox is there. It has no network. Everything that SCRIPT writes is gone afterwards, except in the
directories of --bind. With --systemd, systemd is PID 1, with the system's D-Bus and a user "tester" (1000), whose
manager starts by: systemctl start user@1000.service

Ends with the status of SCRIPT, or {machine.DIED} if the host died, ran out of time, or could not be made.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.host", description="Disposable hosts for tests.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser(
        "run",
        help="run a shell script in a host of its own",
        description=_RUN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("--memory", default="512M", metavar="SIZE", help="of the guest (default: %(default)s)")
    run.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="to its death (default: 120)")
    run.add_argument(
        "--bind", action="append", default=[], metavar="HOST:GUEST", help="a directory that SCRIPT may write"
    )
    run.add_argument("--systemd", action="store_true", help="boot systemd first, and run SCRIPT in a unit")
    run.add_argument(
        "--lower", metavar="DIRECTORY", help="what becomes /, such as this machine's / (default: a Debian)"
    )
    run.add_argument("--time", action="store_true", help="say on stderr how long the boot and all of it took")
    run.add_argument("script", type=Path, metavar="SCRIPT")
    verbs.add_parser("prepare", help="make and keep what hosts are made of, and CRIU: then no run needs the network")
    options = parser.parse_args()
    try:
        return _run(options) if options.verb == "run" else _prepare()
    except (machine.CannotRun, machine.NotReady) as reason:
        print(f"tests.host: {reason}", file=sys.stderr)
    except OSError as error:
        print(f"tests.host: {error.filename}: {error.strerror}", file=sys.stderr)
    return machine.DIED


def _prepare() -> int:
    print(debian.root())
    print(images.store())
    print(images.templates())
    print(criu.directory())
    print(lxcfs.directory())
    try:
        print(machine.kernel())
    except machine.CannotRun as reason:
        print(f"tests.host: {reason}", file=sys.stderr)
    return 0


def _run(options: argparse.Namespace) -> int:
    script = options.script.read_text()
    host = machine.Host(
        memory=options.memory,
        binds=options.bind,
        systemd=options.systemd,
        lower=options.lower,
        echo=True,
        life=options.timeout,
    )
    with host:
        result = host.run(script, timeout=None)
    if result.status == machine.DIED:
        print(result.console, end="", file=sys.stderr)
    if options.time:
        print(f"boot {host.boot_seconds:.2f} s, in all {result.seconds:.2f} s", file=sys.stderr)
    return result.status


if __name__ == "__main__":
    sys.exit(main())
