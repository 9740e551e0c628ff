"""``KEY=VALUE`` of tenant set: what the text means is what the key's default is."""

from __future__ import annotations

from pycontain.kernel.errors import UsageError

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
    if isinstance(default, str) and text[:1] not in ('"', "'"):
        return text
    if isinstance(default, list) and not text.startswith("["):
        return [one.strip() for one in text.split(",")] if text else []
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text  # what is wrong with it is said with the key
    return found["value"] if list(found) == ["value"] else text
