"""Telling systemd-machined of a guest (org.freedesktop.machine1(5)), so that machinectl(1) and journalctl -M know it.

machined forgets a machine by itself, when its unit has ended. Where there is no bus or no machined, nothing is said:
nobody who has neither misses them.
"""

from __future__ import annotations

import os

from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME, _PATH, _MANAGER = "org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager"
_BUS = "/run/dbus/system_bus_socket"
#: By which the bus knows how to start it.
_SERVICES = tuple(
    f"{place}/dbus-1/system-services/{_NAME}.service" for place in ("/usr/share", "/usr/local/share", "/run", "/etc")
)
#: Seconds for an answer: machined is started by the question.
_TIMEOUT = 10.0
_ABSENT = (
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.Spawn.ServiceNotFound",
    "org.freedesktop.systemd1.NoSuchUnit",
    "org.freedesktop.systemd1.UnitMasked",
)


def present() -> bool:
    """Whether there is a bus that knows machined, and jeepney to speak to it."""
    if not os.path.exists(_BUS) or not any(os.path.exists(path) for path in _SERVICES):
        return False
    from importlib.util import find_spec

    return find_spec("jeepney") is not None


def register(name: str, machine_id: bytes, leader: int, root: str, devices: list[int]) -> str:
    """Make a guest known, anew where it is known already: its init is another one after a reboot.

    machine_id: 16 bytes. leader: its init on the host. root: its directory there. devices: numbers of the host's ends
    of its network. What machined says against it, "" where it is known now or there is no machined.
    """
    if not present():
        return ""
    try:
        body = (name, machine_id, "pycontain", "container", leader, root, devices)
        problem = _call("RegisterMachineWithNetwork", "sayssusai", *body)
        if problem == "org.freedesktop.machine1.MachineExists":
            _call("UnregisterMachine", "s", name)
            problem = _call("RegisterMachineWithNetwork", "sayssusai", *body)
    except Error as error:
        return error.message
    return "" if problem in _ABSENT else problem


def _call(method: str, signature: str, *body: Any) -> str:
    """The name of the error that is the answer, "" for none. Raises Error where there is no answer."""
    import jeepney
    from jeepney.io.blocking import DBusConnection, prep_socket

    message = jeepney.new_method_call(jeepney.DBusAddress(_PATH, _NAME, _MANAGER), method, signature, body)
    try:
        with DBusConnection(prep_socket(_BUS, timeout=_TIMEOUT)) as connection:
            reply = connection.send_and_get_reply(message, timeout=_TIMEOUT)
    except TimeoutError:
        raise Error(f"systemd-machined: {method}: no answer within {_TIMEOUT:g} s") from None
    except OSError as error:
        raise Error(f"systemd-machined: {method}: {os_text(error)}") from None
    if reply.header.message_type is not jeepney.MessageType.error:
        return ""
    return str(reply.header.fields.get(jeepney.HeaderFields.error_name, "an error without a name"))
