"""The configuration file: what holds for every command on this host. See pycontain(7).

TOML, at /etc/pycontain/pycontain.toml or where PYCONTAIN_CONFIG says. A host without it pays one failed stat(2); with
it, what was read is kept as JSON in a cache directory, since a TOML reader costs more than a container's start.
"""

from __future__ import annotations

import os

from pycontain.kernel import files, rootless
from pycontain.kernel.errors import Error, UsageError, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATH = "/etc/pycontain/pycontain.toml"
VARIABLE = "PYCONTAIN_CONFIG"
CGROUPFS, SYSTEMD = "cgroupfs", "systemd"
#: key → the values that it may have, the default first
KEYS: dict[str, tuple[str, ...]] = {
    "cgroup_manager": (CGROUPFS, SYSTEMD),
    "missing_controllers": ("error", "warn"),
    "userns": ("auto", "host", "keep-id"),
}
#: key → its default, of those whose value is a text of its own
TEXTS = {"id_pool": "", "id_user": "pycontain"}
_EXAMPLES = {"id_pool": '"524288:1048576"', "id_user": '"pycontain"'}
_LIMIT = 1 << 20


def path() -> str:
    """Where the file is, whether it exists or not."""
    return os.environ.get(VARIABLE) or (rootless.configuration() if rootless.user() >= 0 else PATH)


def load(cache: str = "") -> dict[str, str]:
    """The setting of every key, its default where the file does not have it.

    cache: a directory for what was read, "" for none. Raises Error for a file that cannot be read or that has in it
    what cannot be.
    """
    defaults = {key: values[0] for key, values in KEYS.items()} | TEXTS
    where = path()
    try:
        status = os.stat(where)
    except FileNotFoundError:
        if os.environ.get(VARIABLE):
            raise Error(f"{where}: No such file or directory: {VARIABLE} names it") from None
        return defaults
    except OSError as error:
        raise Error(f"{where}: {os_text(error)}") from None
    stamp = [where, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
    known = _cached(cache, stamp)
    if known is None:
        known = check(_read(where), where)
        _keep(cache, stamp, known)
    return {**defaults, **known}


def _read(where: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(files.read_bytes(where, limit=_LIMIT).decode())
    except OSError as error:
        raise Error(f"{where}: {os_text(error)}") from None
    except UnicodeDecodeError:
        raise Error(f"{where}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise Error(f"{where}: is not TOML: {error}") from None


def check(settings: dict[str, Any], where: str) -> dict[str, str]:
    """The settings, which must be known ones with values that they can have. Raises Error naming the key."""
    for key, value in settings.items():
        if key not in KEYS and key not in TEXTS:
            raise Error(f"{where}: {key}: is not a setting; there are {', '.join([*KEYS, *TEXTS])}")
        if key in TEXTS:
            _check_text(key, value, where)
        elif value not in KEYS[key]:
            raise Error(f"{where}: {key}: {value!r} is none of {', '.join(KEYS[key])}")
    return dict(settings)


def _check_text(key: str, value: object, where: str) -> None:
    if not isinstance(value, str) or not value.isprintable() or (":" in value and key == "id_user"):
        raise Error(f"{where}: {key}: {value!r} is not what it should be: a text such as {_EXAMPLES[key]}")
    if key == "id_pool" and value:
        from pycontain.kernel.idmap import parse_ranges

        try:
            parse_ranges(value)
        except UsageError as error:
            raise Error(f"{where}: {key}: {error.message}") from None


def _cached(cache: str, stamp: list[Any]) -> dict[str, str] | None:
    if not cache:
        return None
    try:
        found = files.read_json(f"{cache}/config.json")
    except (OSError, Error):
        return None
    if type(found) is not dict or found.get("stamp") != stamp or type(found.get("settings")) is not dict:
        return None
    settings: dict[str, str] = found["settings"]
    return settings


def _keep(cache: str, stamp: list[Any], settings: dict[str, str]) -> None:
    if cache and os.path.isdir(cache):
        try:
            files.write_json(f"{cache}/config.json", {"stamp": stamp, "settings": settings})
        except OSError:
            pass  # it is read anew next time
