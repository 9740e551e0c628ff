"""The errors that a user sees: one line, an exit status."""

from __future__ import annotations

import os

#: pycontain itself failed; the command could not be invoked; the command was not found (docker-run(1)).
EXIT_FAILURE = 125
EXIT_CANNOT_INVOKE = 126
EXIT_NOT_FOUND = 127


def printable(text: str) -> str:
    """``text`` with every character that would end the line, or that a terminal would act upon, written as Python does.

    What an error quotes may be another's: a path of a config.json, a name in an archive.
    """
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else repr(char)[1:-1] for char in text])


class Error(Exception):
    """Something that a person can read and act on.

    ``message`` is one printable line without a trailing full stop: what was wrong, where, what would be right.
    ``status`` is the exit status that the command line ends with.
    """

    status = EXIT_FAILURE

    def __init__(self, message: str, status: int | None = None) -> None:
        message = printable(message)
        super().__init__(message)
        self.message = message
        if status is not None:
            self.status = status


class UsageError(Error):
    """A flag or argument that cannot be: the message names the flag and what would be right."""


class SpecError(Error):
    """A configuration that cannot be: ``where`` is its JSON path, such as ``linux.namespaces[2].path``."""

    def __init__(self, where: str, problem: str, status: int | None = None) -> None:
        super().__init__(f"{where}: {problem}" if where else problem, status)
        self.where = where
        self.problem = problem


class NotFound(Error):
    """A container, image or other object that does not exist."""


class InUse(Error):
    """A name, port or object that somebody has."""


def os_text(error: OSError) -> str:
    """The kernel's answer in words, without the path (the caller names the object)."""
    return os.strerror(error.errno) if error.errno else str(error)
