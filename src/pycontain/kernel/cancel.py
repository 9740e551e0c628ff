"""Signals that end a piece of work which takes long or may never end by itself, and that wait everywhere else."""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


class Cancelled(BaseException):
    """A signal has come; no error of the work, whose handlers of errors are to let it pass. name: the signal's."""

    def __init__(self, number: int) -> None:
        self.number, self.name = number, signal.Signals(number).name
        super().__init__(self.name)


class Held:
    """A context in which they wait."""

    def __enter__(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)


class Cancellable:
    """A context, to be used once, in which these signals raise Cancelled, also those that wait. After it they wait.

    Those that are ignored (nohup(1)) still are.
    """

    def __init__(self) -> None:
        self._done = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self._before = {number: handler for number, handler in self._before.items() if handler != signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self._cancel)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _cancel(self, number: int, _frame: FrameType | None) -> None:
        # what the first one brings about is not for the second one to end
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        if not self._done:  # of two that have waited both come here
            self._done = True
            raise Cancelled(number)


class Undone:
    """A context for work that puts right what it has begun: a signal that comes meanwhile ends it by Cancelled, and
    this process afterwards as it would have at once.
    """

    def __init__(self) -> None:
        self._held = Held()

    def __enter__(self) -> Cancellable:
        self._held.__enter__()
        return Cancellable()

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        self._held.__exit__()
        if isinstance(error, Cancelled):
            signal.raise_signal(error.number)
