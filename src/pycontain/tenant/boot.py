"""Which tenants start with the host, in which order, and what ran when it went down."""

from __future__ import annotations

import os
import time

from pycontain.engine import state as states
from pycontain.kernel import files
from pycontain.kernel.errors import Error, os_text
from pycontain.tenant import crew, file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pycontain.tenant.place import Tenants
    from pycontain.tenant.settings import Boot

#: In a tenant's state directory: it ran when all were stopped.
BEFORE = "before"
YES, NO, AS_BEFORE = "yes", "no", "as-before"


class Turn:
    """A tenant's place among the others. order: higher first. delay: seconds that the next waits after it."""

    __slots__ = ("delay", "name", "onboot", "order")

    def __init__(self, name: str, order: int = 0, delay: int = 0, onboot: str = NO) -> None:
        self.name = name
        self.order = order
        self.delay = delay
        self.onboot = onboot


def turn(name: str, boot: Boot) -> Turn:
    """Of a tenant's settings."""
    return Turn(name, boot.order, boot.delay, boot.onboot)


def turns(tenants: Tenants, names: Iterable[str]) -> tuple[list[Turn], list[str]]:
    """The turns of tenants, and a line for each whose settings cannot be read."""
    found, problems = [], []
    for name in names:
        try:
            found.append(turn(name, file.read(tenants.settings_path(name)).boot))
        except Error as error:
            problems.append(error.message)
    return found, problems


def steps(some: Iterable[Turn]) -> list[list[Turn]]:
    """Those of one order in one step, the highest order first. They are stopped the other way round."""
    by_order: dict[int, list[Turn]] = {}
    for one in sorted(some, key=lambda one: (-one.order, one.name)):
        by_order.setdefault(one.order, []).append(one)
    return list(by_order.values())


# --- as before ----------------------------------------------------------------------------------------------------


def _container(tenants: Tenants, name: str) -> str:
    """The ID of its container, "" where it has none that is known."""
    try:
        found = tenants.state(name)
    except Error:
        return ""
    return found.container if found is not None else ""


def running(tenants: Tenants, name: str) -> bool:
    """Whether it runs, suspended or not, or is about to."""
    container = _container(tenants, name)
    return bool(container) and states.read(tenants.paths, container).alive


def remember(tenants: Tenants, name: str) -> None:
    """It runs, and is stopped only because the host goes down. Raises Error."""
    try:
        files.replace(f"{tenants.state_directory(name)}/{BEFORE}", f"{time.time():.3f}\n".encode(), 0o600)
    except OSError as error:
        raise Error(f"tenant {name}: cannot record that it ran: {os_text(error)}") from None


def forget(tenants: Tenants, name: str) -> None:
    """It starts: what was before is over. By the file alone, whatever the clock has done in between. Raises Error."""
    try:
        os.unlink(f"{tenants.state_directory(name)}/{BEFORE}")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Error(f"tenant {name}: cannot record that it starts: {os_text(error)}") from None


def ran(tenants: Tenants, name: str) -> bool:
    """Whether it ran when the host went down: it was stopped for that, or nobody has seen its end, and nobody has
    asked for it since.
    """
    try:
        found = tenants.state(name)
    except Error:
        return False
    if found is None or not found.container:
        return False
    if os.path.exists(f"{tenants.state_directory(name)}/{BEFORE}"):
        return True
    if found.wanted == "stopped":
        return False
    last = states.read_exit(tenants.paths, found.container)
    unseen = os.path.exists(states.unfinished(tenants.paths, found.container))
    return unseen or (last is not None and last.code == -1)


def wanted(tenants: Tenants, one: Turn) -> bool:
    """Whether it starts with the host."""
    return one.onboot == YES or (one.onboot == AS_BEFORE and ran(tenants, one.name))


# --- many ---------------------------------------------------------------------------------------------------------


def start_all(
    some: Sequence[Turn], command: Callable[[str], list[str]], at_once: int, say: Callable[[str, bool], None]
) -> bool:
    """Start tenants in their order. command: the words that start one. say: takes a line, and whether
    it is a name of one that has. True where all have started.

    Those of one order start in parallel, ``at_once`` at one time; the next order begins when all of the last have
    started or failed, and the longest of their delays is over.
    """
    report = _Report(say)
    todo = steps(some)
    for step in todo:
        crew.run([(one.name, command(one.name)) for one in step], at_once, report.hear)
        pause = max(one.delay for one in step)
        if pause and step is not todo[-1]:
            time.sleep(pause)
    return not report.failed


def stop_all(
    some: Sequence[Turn], command: Callable[[str], list[str]], at_once: int, say: Callable[[str, bool], None]
) -> bool:
    """Stop tenants, the other way round and without delays. As start_all."""
    report = _Report(say)
    for step in reversed(steps(some)):
        crew.run([(one.name, command(one.name)) for one in step], at_once, report.hear)
    return not report.failed


class _Report:
    """What the commands of many tenants say, each line with its tenant's name."""

    def __init__(self, say: Callable[[str, bool], None]) -> None:
        self.say = say
        self.failed: list[str] = []

    def hear(self, outcome: crew.Outcome) -> None:
        for line in outcome.lines:
            # a verb that succeeds says its name alone
            name = line == outcome.name
            self.say(line if name else f"{outcome.name}: {line.removeprefix('pycontain: ')}", name)
        if outcome.status:
            self.failed.append(outcome.name)
            if not outcome.lines:
                self.say(f"{outcome.name}: ended with status {outcome.status}", False)
