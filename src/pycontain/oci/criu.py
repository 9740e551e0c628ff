"""CRIU as a process of ours, spoken to over a socket (``criu swrk``, criu.org/RPC)."""

from __future__ import annotations

import os
from _signal import SIGKILL
from _socket import AF_UNIX, CMSG_LEN, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socketpair

from pycontain.kernel import files, libc
from pycontain.kernel.errors import Error, os_text
from pycontain.oci import criu_messages as messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontain.oci.criu_messages import Fields, Message

    #: What a notice of CRIU's is answered with: its name, a process ID, descriptors that came with it.
    Notice = Callable[[str, int, list[int]], None]

#: The oldest version that is worked with: those before it fail on kernels of today.
OLDEST = (4, 1)
_NEXT = "install CRIU 4.1 or newer, or name it with --criu before the verb"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ANSWER = 1 << 16
_DESCRIPTORS = 16
_FIRST = 3
_SPARE = 200
#: Of a log's errors that many are told.
_LINES = 4
#: Errors that say nothing, or that CRIU goes on after.
_NO_REASON = ("Dumping FAILED", "Restoring FAILED", "Pre-dumping FAILED", "setup RLIMIT_NOFILE for self", "create tun")


class Failed(Error):
    """CRIU has said no: what it says beside its log, maybe nothing."""


def find(given: str) -> str:
    """The program: the one that is given, else ``criu`` of PATH. Raises Error where there is none that can be used."""
    name = given or "criu"
    path = os.environ.get("PATH") or _DEFAULT_PATH
    for directory in [""] if "/" in name else path.split(":"):
        program = os.path.join(directory, name)
        if os.path.isfile(program) and os.access(program, os.X_OK):
            return program
    if given:
        raise Error(f"--criu {given}: there is no such program: {_NEXT}", 1)
    raise Error(f"criu is not in PATH ({path}): {_NEXT}", 1)


def check_version(program: str) -> None:
    """Raises Error for a program that is no CRIU, or one that is too old."""
    try:
        with Criu(program) as criu:
            answer = criu.ask(messages.VERSION)
    except Failed as error:
        why = f": {error.message}" if error.message else ""
        raise Error(f"{program} does not say its version, as CRIU does{why}: {_NEXT}", 1) from None
    version = messages.inner(answer, messages.RESPONSE_VERSION)
    found = messages.number(version, 1), messages.number(version, 2)
    if found < OLDEST:
        raise Error(f"{program} is CRIU {found[0]}.{found[1]}, which is too old: {_NEXT}", 1)


#: message criu_features: field, and why a kernel may not have it
MEMORY_TRACKING = (1, "mem_track", "this kernel does not track changed memory (CONFIG_MEM_SOFT_DIRTY)")
LAZY_PAGES = (2, "lazy_pages", "this kernel cannot restore memory lazily (userfaultfd with its events)")


def check_feature(program: str, option: str, feature: tuple[int, str, str]) -> None:
    """Whether CRIU says that it can do something here. Raises Error with the option that needs it."""
    field, name, why = feature
    with Criu(program) as criu:
        answer = criu.ask(messages.FEATURE_CHECK, [(messages.REQUEST_FEATURES, messages.encode([(field, 1)]))])
    if not messages.number(messages.inner(answer, messages.RESPONSE_FEATURES), field):
        raise Error(f"--{option}: CRIU answers that it has no {name}: {why}", 1)


class Criu:
    """One process of CRIU's, for one request.

    stdio: whether it has our standard descriptors, which it gives to what it restores; else it has /dev/null.
    extra: descriptors that it has as 4, 5, … (see EXTRA).
    """

    #: What the first of ``extra`` is in CRIU.
    EXTRA = 4

    def __init__(
        self,
        program: str,
        *,
        stdio: bool = False,
        apart: bool = False,
        extra: list[int] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """apart: neither our death nor a terminal's ^C ends it. prepare: is called in it first. Raises OSError."""
        self._link, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        self._stdio, self._apart, self._prepare = stdio, apart, prepare
        try:
            self.pid = os.fork()
            if self.pid == 0:
                self._become(program, [theirs.fileno(), *(extra or [])])
        finally:
            theirs.close()

    def __enter__(self) -> Criu:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _become(self, program: str, descriptors: list[int]) -> None:
        """In the child: CRIU, with these descriptors from 3 on and nothing else of ours."""
        import _signal

        try:
            if self._apart:
                os.setsid()
            else:
                libc.die_with_parent(SIGKILL)
            if self._prepare is not None:
                self._prepare()
            for number in range(1, 32):
                if number not in (_signal.SIGKILL, _signal.SIGSTOP):
                    _signal.signal(number, _signal.SIG_DFL)
            _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
            if not self._stdio:
                null = os.open("/dev/null", os.O_RDWR)
                for fd in (0, 1, 2):
                    os.dup2(null, fd)
            # first out of the way: one may be where another goes
            for at, fd in enumerate(descriptors):
                os.dup2(fd, _SPARE + at)
            for at in range(len(descriptors)):
                os.dup2(_SPARE + at, _FIRST + at)
            os.closerange(_FIRST + len(descriptors), 1 << 20)
            os.execv(program, ["criu", "swrk", str(_FIRST)])
        finally:
            os._exit(127)

    def ask(self, kind: int, fields: Fields | None = None, notice: Notice | None = None) -> Message:
        """Send a request and hear the answer; what ``notice`` raises fails the request, and is raised when it has.

        Raises Failed.
        """
        self._send([(messages.REQUEST_TYPE, kind), *(fields or [])])
        problem: BaseException | None = None
        while True:
            answer, descriptors = self._receive(problem)
            if messages.number(answer, messages.RESPONSE_TYPE) != messages.NOTIFY:
                break
            told = messages.inner(answer, messages.RESPONSE_NOTIFY)
            try:
                if notice is not None and problem is None:
                    notice(messages.text(told, 1), messages.number(told, 2), descriptors)
            except (Error, OSError) as error:
                problem = error
            finally:
                for fd in descriptors:
                    os.close(fd)
            good = int(problem is None)
            self._send([(messages.REQUEST_TYPE, messages.NOTIFY), (messages.REQUEST_NOTIFY_SUCCESS, good)])
        if problem is not None:
            raise problem
        if not messages.number(answer, messages.RESPONSE_SUCCESS):
            code = messages.number(answer, messages.RESPONSE_ERRNO)
            said = messages.text(answer, messages.RESPONSE_ERRMSG).strip().replace("\n", "; ")
            raise Failed(said or (os.strerror(code) if 0 < code < 200 else ""), 1)
        return answer

    def _send(self, fields: Fields) -> None:
        try:
            self._link.send(messages.encode(fields))
        except BrokenPipeError:
            raise Failed(self._how_it_ended(), 1) from None
        except OSError as error:
            raise Failed(os_text(error), 1) from None

    def _receive(self, problem: BaseException | None) -> tuple[Message, list[int]]:
        """The next message and the descriptors that came with it."""
        try:
            data, control, _, _ = self._link.recvmsg(_ANSWER, CMSG_LEN(_DESCRIPTORS * 4))
        except ConnectionResetError:
            data, control = b"", []
        except OSError as error:
            raise Failed(os_text(error), 1) from None
        if not data:
            raise problem or Failed(self._how_it_ended(), 1)
        descriptors = []
        for level, kind, content in control:
            if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                whole = content[: len(content) // 4 * 4]
                descriptors += [int.from_bytes(whole[at : at + 4], "little") for at in range(0, len(whole), 4)]
        try:
            return messages.decode(data), descriptors
        except ValueError as error:
            raise Failed(f"its answer is not understood: {error}", 1) from None

    def _how_it_ended(self) -> str:
        code = self.wait()
        return f"it has ended with status {code}" if code >= 0 else f"it was killed by signal {-code}"

    def wait(self) -> int:
        """Its exit status, negative for the signal that ended it."""
        if self.pid <= 0:
            return 0
        # who interrupts us can still kill it, and never one that has its number after it
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def kill(self) -> None:
        if self.pid > 0:
            os.kill(self.pid, SIGKILL)

    def end(self) -> None:
        """Hang up, and wait for its end, which that brings about."""
        self._link.close()
        self.wait()


def excerpt(path: str) -> str:
    """The first lines of a log of CRIU's that tell of errors, as one line; "" where there are none."""
    try:
        lines = files.read_bytes(path, limit=256 << 20).decode("utf-8", "replace").splitlines()
    except (OSError, Error):
        return ""
    found: list[str] = []
    for line in lines:
        _, mark, rest = line.partition("Error (")
        said = rest.partition("): ")[2].strip()
        if mark and said and said not in found and not any(text in said for text in _NO_REASON):
            found.append(said)
    return "; ".join(found[:_LINES])
