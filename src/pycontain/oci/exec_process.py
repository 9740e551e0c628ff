"""The ``process`` object of exec: a file, or the container's own with what the options say."""

from __future__ import annotations

from pycontain.kernel import files
from pycontain.kernel.errors import Error, SpecError, UsageError, os_text
from pycontain.launch.process import MAX_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.oci.arguments import Call

_CAPABILITIES = ("bounding", "effective", "permitted")


def process(spec: dict[str, Any], call: Call) -> dict[str, Any]:
    """As runc has it: a file of --process makes the other options of the process void. Raises Error."""
    result = _read(call.text("process")) if call.text("process") else _own(spec, call)
    result["env"] = last_of_each(result.get("env"))
    return result


def _read(path: str) -> dict[str, Any]:
    try:
        found = files.read_json(path)
    except OSError as error:
        raise Error(f"open {path}: {os_text(error).lower()}") from None
    if type(found) is not dict:
        raise SpecError("", f"{path}: expected a JSON object")
    return found


def _own(spec: dict[str, Any], call: Call) -> dict[str, Any]:
    found = spec.get("process")
    if type(found) is not dict:
        raise Error("config.json has no process: give one with --process")
    if not call.words[1:]:
        raise UsageError("process args cannot be empty: give a command after the container's ID, or --process")
    result = {**found, "args": call.words[1:], "terminal": call.flag("tty")}
    result["env"] = [*(found.get("env") or []), *call.every("env")]
    if call.text("cwd"):
        result["cwd"] = call.text("cwd")
    if "no-new-privs" in call.options:
        result["noNewPrivileges"] = call.flag("no-new-privs")
    for option, key in (("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")):
        if call.text(option):
            result[key] = call.text(option)
    result["user"] = _user(found.get("user") or {}, call)
    if call.every("cap"):
        result["capabilities"] = _capabilities(found.get("capabilities") or {}, call.every("cap"))
    return result


def _user(user: dict[str, Any], call: Call) -> dict[str, Any]:
    result = {**user}
    if call.text("user"):
        uid, colon, gid = call.text("user").partition(":")
        result["uid"] = _number(uid, "user", "UID[:GID]")
        if colon:
            result["gid"] = _number(gid, "user", "UID[:GID]")
    if call.every("additional-gids"):
        more = [_number(text, "additional-gids", "a GID") for text in call.every("additional-gids")]
        result["additionalGids"] = [*(user.get("additionalGids") or []), *more]
    return result


def _number(text: str, option: str, expected: str) -> int:
    """Digits only: what is nearly a number never becomes an ID (CVE-2024-40635). Raises UsageError."""
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > MAX_ID:
        raise UsageError(f"--{option}: {text!r} is not an ID from 0 to {MAX_ID}: expected {expected} in digits")
    return int(text)


def _capabilities(sets: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Added to what a process may have; to the ambient ones only where some may be inherited, which those need."""
    result = {**sets}
    for key in (*_CAPABILITIES, *(("ambient",) if sets.get("inheritable") else ())):
        result[key] = [*(sets.get(key) or []), *names]
    return result


def last_of_each(env: Any) -> Any:
    """Variables once each, with their last value, where the last one stood. What is no list is for the compiler."""
    if type(env) is not list or not all(type(entry) is str for entry in env):
        return env if env is not None else []
    last = {entry.partition("=")[0]: at for at, entry in enumerate(env)}
    return [entry for at, entry in enumerate(env) if last[entry.partition("=")[0]] == at]
