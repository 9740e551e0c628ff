"""Reading and changing a settings file. Comments and order stay (tomlkit); it is replaced whole, by rename."""

from __future__ import annotations

import os

from pycontain.kernel import files
from pycontain.kernel.errors import Error, NotFound, UsageError, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from pycontain.tenant.settings import Settings

    #: What is to be different: from what a file says (``raw``) to dotted key → value, None for a key's default.
    Changes = Callable[[dict[str, Any]], dict[str, Any]]

#: Tables whose keys are names of somebody else's.
FREE = ("sysctls", "environment")
_LIMIT = 1 << 20
_MODE = 0o600

#: What stands above the settings of a new tenant.
_HEAD = "# Settings of a tenant: pycontain-tenant.toml(5). 'pycontain tenant set' and 'edit' change this file.\n"


def read_text(path: str) -> str:
    """The file as it is. Raises NotFound, Error."""
    try:
        return files.read_bytes(path, limit=_LIMIT, regular=True).decode()
    except FileNotFoundError:
        raise NotFound(f"{path}: No such file or directory") from None
    except UnicodeDecodeError:
        raise Error(f"{path}: is not UTF-8 text") from None
    except OSError as error:
        raise Error(f"{path}: {os_text(error)}") from None


def read(path: str) -> Settings:
    """The settings of a file. Raises NotFound; Error of one line, with the key and what is wrong."""
    return parse(read_text(path), path)


def parse(text: str, where: str) -> Settings:
    """The settings of a text. Raises Error of one line."""
    from pycontain.tenant import settings

    return settings.check(raw(text, where), where)


def raw(text: str, where: str) -> dict[str, Any]:
    """What a text says, unchecked. Raises Error of one line."""
    import tomllib

    if text.startswith("\ufeff"):
        raise Error(f"{where}: begins with a byte order mark, which TOML has not: save it as UTF-8 without one")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Error(f"{where}: is not TOML: {error}") from None
    except RecursionError:
        raise Error(f"{where}: is nested too deeply") from None


def write(path: str, text: str) -> None:
    """Replace the file, or make it. Raises Error."""
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        replace(path, text.encode(), _MODE)
    except OSError as error:
        raise Error(f"cannot write {path}: {os_text(error)}") from None


def replace(path: str, data: bytes, mode: int) -> None:
    """Write a file whole, under a lock of the caller's: who is killed in it leaves a file that the next one takes.

    Raises OSError.
    """
    temporary = leftover(path)
    try:
        os.unlink(temporary)
    except FileNotFoundError:
        pass
    try:
        files.create(temporary, data, mode, sync=True)
        os.rename(temporary, path)
    except BaseException:
        discard_leftover(path)
        raise


def leftover(path: str) -> str:
    """What a write that was interrupted leaves beside a file."""
    return f"{path}.new"


def discard_leftover(path: str) -> None:
    """Take it away."""
    try:
        os.unlink(leftover(path))
    except OSError:
        pass


def change(path: str, changes: Mapping[str, Any]) -> Settings:
    """Change keys in a file, which stays as it is where the outcome is not right. Raises Error."""
    text = changed(read_text(path), changes)
    found = parse(text, path)
    write(path, text)
    return found


def changed(text: str, changes: Mapping[str, Any]) -> str:
    """The text with other values: dotted key → value, None takes a key away. Nothing else of it moves.

    A number in a key is a place in a list, such as ``network.0.addresses``; the one behind the last is one more.
    Raises Error.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        for key, value in changes.items():
            _put(document, parts_of(key), key, value)
        text = tomlkit.dumps(document)
        text.encode()
        return text
    except UnicodeEncodeError:
        raise UsageError("a value is not UTF-8 text, which a settings file is") from None
    except TOMLKitError as error:
        raise Error(f"is not TOML: {error}") from None


def parts_of(key: str) -> list[str]:
    """A dotted key in its parts. What is below a free table is one name, though it has dots of its own."""
    table, _, name = key.partition(".")
    return [table, name] if name and table in FREE else key.split(".")


def _put(table: Any, parts: list[str], key: str, value: Any) -> None:
    import tomlkit

    *above, last = parts
    for index, part in enumerate(above):
        if part.isdigit():
            if not isinstance(table, list) or int(part) >= len(table):
                raise UsageError(f"{key}: there is no {'.'.join(parts[: index + 1])}")
            table = table[int(part)]
            continue
        if part not in table:
            if value is None:
                return
            following = parts[index + 1]
            if following.isdigit():
                raise UsageError(f"{key}: there is no {'.'.join(parts[: index + 2])}")
            table[part] = tomlkit.table()
        table = table[part]
    if isinstance(table, list) and last.isdigit() and int(last) <= len(table):
        _put_place(table, int(last), value)
        return
    if not hasattr(table, "pop") or isinstance(table, list):
        raise UsageError(f"{key}: {'.'.join(above)} is not a table")
    if value is None:
        table.pop(last, None)
        return
    table[last] = _item(value)


def _put_place(found: Any, at: int, value: Any) -> None:
    """A place of a list: another value, one more at its end, or None to take it away."""
    import tomlkit
    from tomlkit.items import AoT

    if value is None:
        if at < len(found):
            del found[at]
        return
    if at == len(found):
        table = _table(found, value)
        if isinstance(found, AoT) and found:
            # an empty line before it; where one is there already, what follows has it
            last = table if found[-1].as_string().endswith("\n\n") else found[-1]
            last.add(tomlkit.nl())
        found.append(table)
    else:
        found[at] = _table(found, value)


def _table(found: Any, value: Any) -> Any:
    """A value as the list has its others."""
    import tomlkit
    from tomlkit.items import AoT

    if not isinstance(value, dict):
        return value
    table: Any = tomlkit.table() if isinstance(found, AoT) else tomlkit.inline_table()
    for name, content in value.items():
        table[name] = content
    return table


def _item(value: Any) -> Any:
    """A value as TOML has it: a list of tables one below the other, every other list in one line."""
    import tomlkit

    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        tables = tomlkit.aot()
        for one in value:
            table = tomlkit.table()
            for name, content in one.items():
                table[name] = _item(content)
            tables.append(table)
        return tables
    return value


def fresh(values: Mapping[str, Any]) -> str:
    """The text of a new file from dotted keys. ``version`` is written first."""
    from pycontain.tenant.settings import VERSION

    return _HEAD + changed(f"version = {VERSION}\n", values)
