"""wait: until a tenant is what one waits for, by what is told of it (events.py), not by asking again and again."""

from __future__ import annotations

from pycontain.kernel.errors import Error
from pycontain.tenant import show
from pycontain.tenant.events import Watcher
from pycontain.tenant.place import Tenants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

GONE = "destroyed"
#: What a tenant that does not run any more is.
DOWN = (show.STOPPED, show.FAILED, show.DAMAGED, GONE)


class _TimeUp(Exception):
    pass


def _time_up(*_: object) -> None:
    raise _TimeUp


def wait(tenants: Tenants, text: str, words: Collection[str], seconds: float | None = None) -> str:
    """Until its status is one of ``words``, which it is then; "destroyed" ends it in any case.

    seconds: at the most; None is for ever. Raises Missing, Error where time is over.
    """
    import _signal

    name = tenants.find(text)
    before = _signal.signal(_signal.SIGALRM, _time_up)
    try:
        if seconds is not None:
            _signal.setitimer(_signal.ITIMER_REAL, max(seconds, 0.001))
        return _wait(tenants, name, words)
    except _TimeUp:
        word = show.status(tenants, name).word
        raise Error(f"tenant {name} is {word} still, after {seconds} s", 1) from None
    finally:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        _signal.signal(_signal.SIGALRM, before)


def _wait(tenants: Tenants, name: str, words: Collection[str]) -> str:
    with Watcher(tenants, lambda *_: None) as watcher:
        watcher.begin()
        while True:
            if not tenants.exists(name):
                return GONE
            word = show.status(tenants, name).word
            if word in words:
                return word
            watcher.wait()
