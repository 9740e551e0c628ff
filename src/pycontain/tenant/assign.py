"""``KEY=VALUE`` of tenant set: what the text means is what the key's default is."""

from __future__ import annotations

from pycontain.kernel.errors import UsageError
from pycontain.tenant import file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def changes(words: Sequence[str], unset: Sequence[str] = ()) -> dict[str, Any]:
    """Dotted key → value, None for each of ``unset``. Raises UsageError."""
    found: dict[str, Any] = dict.fromkeys(unset)
    for word in words:
        key, equals, text = word.partition("=")
        key, text = key.strip(), text.strip()
        if not equals or not key:
            raise UsageError(f"{word!r} is not KEY=VALUE, such as memory.limit=512M")
        found[key] = value(key, text)
    for key in found:
        if not all(key.split(".")):
            raise UsageError(f"{key!r} is not a key such as memory.limit")
        _refuse(key)
    return found


def check_unset(keys: Sequence[str], before: dict[str, Any]) -> None:
    """before: what the settings file says. Raises UsageError for a key that neither it nor the settings have."""
    from pycontain.tenant.settings import Settings, unknown

    known = Settings(version=1).plain()
    for key in keys:
        parts = file.parts_of(key)
        open_ended = parts[0] in file.FREE or isinstance(known.get(parts[0]), list)
        if not open_ended and not any(_has(table, parts) for table in (before, known)):
            raise UsageError(f"--unset: {key} {unknown(parts)}")


def _has(table: Any, parts: Sequence[str]) -> bool:
    for part in parts:
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


def _refuse(key: str) -> None:
    from pycontain.tenant import refused

    reason = refused.reason(key)
    if reason and key not in ("bridge", "config", "devices"):
        raise UsageError(f"{key}: {reason}")


def value(key: str, text: str) -> Any:
    """A text for texts, TOML for all else; a list may be words with commas between. Raises UsageError."""
    import tomllib

    from pycontain.tenant.settings import Settings, flat

    default = flat(Settings(version=1).plain()).get(key)
    named = key.partition(".")[0] in file.FREE and "." in key
    if (named or isinstance(default, str)) and text[:1] not in ('"', "'"):
        return text
    if isinstance(default, list) and not text.startswith("["):
        return [one.strip() for one in text.split(",")] if text else []
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text  # what is wrong with it is said with the key
    return found["value"] if list(found) == ["value"] else text
