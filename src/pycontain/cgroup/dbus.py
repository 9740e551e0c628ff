"""systemd's manager over D-Bus (org.freedesktop.systemd1(5)), by jeepney. Not for the start road but systemd's own."""

from __future__ import annotations

import os
import time

from pycontain.kernel import rootless
from pycontain.kernel.errors import Error, InUse, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from jeepney.io.blocking import DBusConnection

    from pycontain.cgroup.unit import Property

_NAME = "org.freedesktop.systemd1"
_PATH = "/org/freedesktop/systemd1"
_MANAGER = f"{_NAME}.Manager"
#: Seconds that systemd has for a job; its own default time limit of a unit's start is 90.
TIMEOUT = 30.0
#: Seconds for the bus to let us in.
_AUTH_TIMEOUT = 5.0


class Refused(Exception):
    """What systemd answered. name: the D-Bus error's, such as org.freedesktop.systemd1.NoSuchUnit."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text or name)
        self.name = name
        self.text = text or name


class Unreachable(Error):
    """There is no systemd to ask, or it does not let us in."""


class Manager:
    """A connection to a systemd: the system's, or with ``user`` the calling user's own (a context manager)."""

    def __init__(self, user: bool = False) -> None:
        """Raises Unreachable; Error without jeepney."""
        self._connection = _connect(user)

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    # --- calls ------------------------------------------------------------------------------------------------

    def _call(self, path: str, interface: str, method: str, signature: str = "", *body: Any) -> Any:
        """The answer's first value. Raises Refused; Error where there is no answer in time."""
        import jeepney

        address = jeepney.DBusAddress(path, _NAME, interface)
        message = jeepney.new_method_call(address, method, signature or None, body)
        return self._answer(message, method)

    def _answer(self, message: Any, what: str) -> Any:
        import jeepney

        try:
            reply = self._connection.send_and_get_reply(message, timeout=TIMEOUT)
        except TimeoutError:
            raise Error(f"systemd: {what}: no answer within {TIMEOUT:g} s") from None
        except OSError as error:
            raise Error(f"systemd: {what}: the connection broke: {os_text(error)}") from None
        if reply.header.message_type is jeepney.MessageType.error:
            name = reply.header.fields.get(jeepney.HeaderFields.error_name, "")
            text = reply.body[0] if reply.body and isinstance(reply.body[0], str) else ""
            raise Refused(name, text)
        return reply.body[0] if reply.body else None

    def unit_property(self, unit: str, interface: str, name: str) -> Any:
        """A property of a loaded unit; interface: Unit, Scope, Slice. Raises Refused, Error."""
        path = self._call(_PATH, _MANAGER, "LoadUnit", "s", unit)
        found = self._call(path, "org.freedesktop.DBus.Properties", "Get", "ss", f"{_NAME}.{interface}", name)
        return found[1]

    def set_properties(self, unit: str, values: Sequence[Property]) -> None:
        """SetUnitProperties, until the unit goes. Raises Error."""
        try:
            self._call(_PATH, _MANAGER, "SetUnitProperties", "sba(sv)", unit, True, list(values))
        except Refused as refused:
            raise Error(f"systemd unit {unit}: {refused.text}") from None

    # --- jobs -------------------------------------------------------------------------------------------------

    def start(self, unit: str, values: Sequence[Property], empty: Callable[[str], bool]) -> None:
        """StartTransientUnit, and wait until it is up. A leftover of the name goes first: failed, or with nobody in it.

        empty: whether nobody is in a cgroup. Raises InUse where the unit is there and active; Error.
        """
        try:
            self._start(unit, values)
        except Refused as refused:
            if not refused.name.endswith(".UnitExists"):
                raise Error(f"systemd does not start {unit}: {refused.text}") from None
            self._reset_leftover(unit, empty)
            try:
                self._start(unit, values)
            except Refused as again:
                raise InUse(f"systemd does not start {unit}: {again.text}; choose another name, or stop it") from None

    def _start(self, unit: str, values: Sequence[Property]) -> None:
        result = self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", list(values), [])
        if result != "done":
            raise Error(f"systemd could not start {unit}: the job ended with {result!r}: see journalctl -u {unit}")

    def _reset_leftover(self, unit: str, empty: Callable[[str], bool]) -> None:
        """A unit that has failed keeps its name until somebody has seen it; one that is empty, until systemd has.

        Raises InUse for one that lives.
        """
        try:
            state = self.unit_property(unit, "Unit", "ActiveState")
            group = self.unit_property(unit, "Scope", "ControlGroup")
        except Refused:
            return  # gone meanwhile
        if state in ("active", "activating", "reloading"):
            if group and empty(group):
                self.stop(unit)
                return
            raise InUse(f"systemd unit {unit} exists and is {state}: choose another name, or systemctl stop {unit}")
        if state == "deactivating":
            self.stop(unit)
        self.reset_failed(unit)

    def reset_failed(self, unit: str) -> None:
        """Forget that a unit has failed; one that has not, or is not there, is no error."""
        try:
            self._call(_PATH, _MANAGER, "ResetFailedUnit", "s", unit)
        except Refused:
            pass

    def stop(self, unit: str) -> None:
        """Stop a unit and wait for its end; one that is not there is no error. Raises Error."""
        try:
            self._job("StopUnit", "ss", unit, "replace")
        except Refused as refused:
            if not refused.name.endswith((".NoSuchUnit", ".UnitNotLoaded")):
                raise Error(f"systemd does not stop {unit}: {refused.text}") from None

    def _job(self, method: str, signature: str, *body: Any) -> str:
        """Queue a job and wait for it: its result, "done" or what went wrong. Raises Refused, Error."""
        import jeepney

        def rule(sender: str | None) -> Any:
            return jeepney.MatchRule(type="signal", interface=_MANAGER, member="JobRemoved", path=_PATH, sender=sender)

        owner = self._subscribe(rule(_NAME))
        from collections import deque

        # no length: a busy manager may tell of a hundred other jobs before the one that is waited for
        with self._connection.filter(rule(owner), queue=deque()) as queue:
            job = self._call(_PATH, _MANAGER, method, signature, *body)
            deadline = time.monotonic() + TIMEOUT
            while True:
                try:
                    message = self._connection.recv_until_filtered(queue, timeout=deadline - time.monotonic())
                except TimeoutError:
                    raise Error(f"systemd: {method} {body[0]}: not done within {TIMEOUT:g} s") from None
                except OSError as error:
                    raise Error(f"systemd: {method} {body[0]}: the connection broke: {os_text(error)}") from None
                if len(message.body) == 4 and message.body[1] == job:
                    return str(message.body[3])

    def _subscribe(self, rule: Any) -> str | None:
        """Have signals sent, by the manager and the bus; who sends them, since others on the bus can send the like.

        Without a bus between us they come anyway, and from nobody else: None. Raises Error.
        """
        from jeepney.bus_messages import message_bus

        if self._connection.unique_name is None:
            return None
        try:
            self._answer(message_bus.AddMatch(rule), "AddMatch")
            # the first call waits for a manager that is on its way to the bus
            try:
                self._call(_PATH, _MANAGER, "Subscribe")
            except Refused as refused:
                if not refused.name.endswith(".AlreadySubscribed"):
                    raise
            return str(self._answer(message_bus.GetNameOwner(_NAME), "GetNameOwner"))
        except Refused as refused:
            raise Error(f"systemd does not tell of its jobs: {refused.text}") from None


def _connect(user: bool) -> DBusConnection:
    """The bus; else, as on hosts without one, the manager's own socket."""
    try:
        from jeepney.io.blocking import DBusConnection, DBusConnectionBase, prep_socket
        from jeepney.io.common import MessageFilters
    except ImportError:
        raise Error("the systemd cgroup driver needs the Python package jeepney: pip install jeepney") from None

    class Direct(DBusConnection):  # type: ignore[misc]
        """Without a bus nobody answers Hello."""

        def __init__(self, sock: Any) -> None:
            DBusConnectionBase.__init__(self, sock)
            self._filters = MessageFilters()

    session, bus, private = addresses(user)
    reasons = []
    for address, kind in (*((one, DBusConnection) for one in session), (bus, DBusConnection), (private, Direct)):
        try:
            connection = kind(_authenticated(address) if user else prep_socket(address, timeout=_AUTH_TIMEOUT))
            if address not in session or _has_manager(connection):
                return connection
            connection.close()
            reasons.append(f"{_printable(address)}: a bus without systemd")
        except TimeoutError:
            reasons.append(f"{_printable(address)}: no answer within {_AUTH_TIMEOUT:g} s")
        except OSError as error:
            reasons.append(f"{_printable(address)}: {os_text(error)}")
        except Exception as error:  # jeepney's own: refused at the door
            reasons.append(f"{_printable(address)}: {error}")
    raise Unreachable(_unreachable(user, reasons))


def _printable(address: str) -> str:
    """A socket's address as it is written: @ for an abstract one."""
    return address.replace("\0", "@")


def _has_manager(connection: DBusConnection) -> bool:
    """Whether a systemd is on this bus: a session's own bus (dbus-run-session) has none. Raises OSError."""
    from jeepney.bus_messages import message_bus

    reply = connection.send_and_get_reply(message_bus.NameHasOwner(_NAME), timeout=_AUTH_TIMEOUT)
    return bool(reply.body == (True,))


def _authenticated(address: str) -> Any:
    """A connection as who the kernel says that we are: jeepney would give the ID that this process has in its own
    namespace. Raises OSError.
    """
    import socket

    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(_AUTH_TIMEOUT)
        sock.connect(address)
        sock.sendall(b"\0AUTH EXTERNAL\r\n")
        answer = sock.recv(1024)
        if answer.startswith(b"DATA"):
            sock.sendall(b"DATA\r\n")
            answer = sock.recv(1024)
        if not answer.startswith(b"OK "):
            raise PermissionError(13, "Permission denied", address)
        sock.sendall(b"BEGIN\r\n")
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return sock


def addresses(user: bool) -> tuple[list[str], str, str]:
    """Where to look, in this order: the buses that the user's environment names, the bus, systemd's own socket."""
    if not user:
        return [], "/run/dbus/system_bus_socket", "/run/systemd/private"
    directory = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{rootless.owner()}"
    bus = f"{directory}/bus"
    named = _named(os.environ.get("DBUS_SESSION_BUS_ADDRESS", ""))
    return [address for address in named if address != bus], bus, f"{directory}/systemd/private"


def _named(text: str) -> list[str]:
    """The sockets of a list of D-Bus addresses; what it has of other kinds is left out."""
    from jeepney.bus import get_connectable_addresses

    found = []
    for address in text.split(";"):
        try:
            found += get_connectable_addresses(address)
        except (RuntimeError, ValueError):
            continue
    return found


def _unreachable(user: bool, reasons: list[str]) -> str:
    whose = "the user's own systemd" if user else "systemd"
    if user:
        hint = "log in with a session of your own (loginctl enable-linger keeps it), or set XDG_RUNTIME_DIR"
    elif os.path.isdir("/run/systemd/system"):
        hint = "start the bus (systemctl start dbus)"
    else:
        hint = "this host was not booted by systemd: use the cgroupfs driver (--cgroup-manager=cgroupfs)"
    return f"cannot reach {whose} for a scope: {'; '.join(reasons)}: {hint}"
