"""What ``info`` finds, in sections: each fact with its value, and what is wrong with it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Fact:
    """name: what it is about; the kernel's names as they are, ours with a capital. value: JSON-able.

    problem: what is missing or will be in the way, with the next step, or "". text: for people, made of the value where
    it is not given.
    """

    __slots__ = ("name", "problem", "text", "value")

    def __init__(self, name: str, value: Any, problem: str = "", text: str = "") -> None:
        self.name = name
        self.value = value
        self.problem = problem
        self.text = text or words(value)

    @property
    def key(self) -> str:
        """Its name in JSON: ``Run root`` is ``RunRoot``."""
        return camel(self.name)


class Section:
    """Facts that belong together."""

    __slots__ = ("facts", "title")

    def __init__(self, title: str, facts: list[Fact]) -> None:
        self.title = title
        self.facts = facts


def camel(name: str) -> str:
    """``Bound to v1`` as ``BoundToV1``."""
    return "".join(word[:1].upper() + word[1:] for word in name.split()) if " " in name else name


def words(value: Any) -> str:
    """A value as people write it."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{count} {key}" for key, count in value.items()) or "none"
    return str(value)


def document(sections: list[Section]) -> dict[str, Any]:
    """All of it for ``--format json``: values by section and name, and the problems in one list."""
    result: dict[str, Any] = {
        camel(section.title): {fact.key: fact.value for fact in section.facts} for section in sections
    }
    result["Problems"] = [
        {"Section": camel(section.title), "Name": fact.key, "Problem": fact.problem}
        for section in sections
        for fact in section.facts
        if fact.problem
    ]
    return result
