"""Programs of the host that a build runs: apt-get, dpkg-deb, mmdebstrap, chroot. Off the start road.

Each runs in a mount and a PID namespace of its own (unshare(1)), which dies with us: after Ctrl-C or kill -9 of the
build no process and no mount of it is left, so that the next build can remove the tree they worked on.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import deque

from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Debian packages, for the error text; other distributions call most of them the same.
PACKAGES = {
    "apt-get": "apt",
    "apt-config": "apt",
    "dpkg-deb": "dpkg",
    "mmdebstrap": "mmdebstrap",
    "chroot": "coreutils",
    "unshare": "util-linux",
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What a proxy is given by; nothing else of our environment is the tools' business.
_PASSED = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
_ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--")
_KEPT_LINES = 4096
_SHOWN_LINES = 3
#: How apt, mmdebstrap, dpkg-deb and its tar mark what matters.
_ERRORS = ("E:", "dpkg-deb: error", "tar: ", "dpkg: error", "chroot: ", "unshare: ")


class ToolError(Error):
    """A program that is missing or has failed."""


def run(
    argv: Sequence[str],
    cwd: str = "/",
    output: Callable[[str], None] | None = None,
    environment: dict[str, str] | None = None,
) -> list[str]:
    """Run a program to its end; give its output (and error output), line by line, the last 4096 of them.

    output: called with each line as it comes. environment: what it gets beside a plain one. Its temporary files go to
    ``cwd``. Raises ToolError naming the missing package, or with the last lines of what the program said.
    """
    missing = [name for name in (_ALONE[0], argv[0]) if not shutil.which(name, path=_PATH)]
    if missing:
        package = PACKAGES.get(missing[0], missing[0])
        raise ToolError(f"{missing[0]} is not installed: install the package {package}")
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    try:
        process = _start([*_ALONE, *argv], cwd, {**_environment(cwd), **(environment or {})})
    except OSError as error:
        raise ToolError(f"cannot run {argv[0]}: {os_text(error)}") from None
    try:
        for line in _lines(process):
            lines.append(line)
            if output:
                output(line)
        status = process.wait()
    except BaseException:
        _end(process)
        raise
    if status:
        raise ToolError(f"{argv[0]} failed ({_status(status)}): {_summary(list(lines))}")
    return list(lines)


def _start(argv: Sequence[str], cwd: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    import prctl

    parent = os.getpid()

    def die_with_parent() -> None:
        prctl.set_pdeathsig(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return subprocess.Popen(
        argv,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        umask=0o022,
        # The terminal's Ctrl-C is for us: we end the program and its namespace, whatever it makes of SIGINT.
        start_new_session=True,
        preexec_fn=die_with_parent,
    )


def _environment(cwd: str) -> dict[str, str]:
    values = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root", "TMPDIR": cwd}
    for name in _PASSED:
        for key in (name, name.upper()):
            if key in os.environ:
                values[key] = os.environ[key]
    return values


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """The lines of a process as they come, until it and its children have closed the pipe."""
    assert process.stdout is not None
    rest = b""
    while data := os.read(process.stdout.fileno(), 65536):
        # A progress bar ends its lines with CR.
        *whole, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
        yield from filter(None, map(_printable, whole))
    if text := _printable(rest):
        yield text


def _printable(line: bytes) -> str:
    text = line.decode("utf-8", "replace").expandtabs(1)
    return "".join(char for char in text if char.isprintable()).strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the program; its namespace follows. Wait until nobody has the pipe: nobody writes into the tree then."""
    process.kill()
    for _ in _lines(process):
        pass
    process.wait()


def _status(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def _summary(lines: list[str]) -> str:
    """What the program said of its failure: its error lines where it marks them so, else its last lines."""
    marked = [line for line in lines if line.startswith(_ERRORS)]
    return "; ".join((marked or lines)[-_SHOWN_LINES:]) or "it said nothing"
