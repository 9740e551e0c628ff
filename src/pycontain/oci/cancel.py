"""Signals that end a piece of work which may never end by itself, and that wait everywhere else."""

from __future__ import annotations

import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


class Cancelled(BaseException):
    """A signal has come; no error of the work, whose handlers of errors are to let it pass. name: the signal's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Held:
    """A context in which they wait."""

    def __enter__(self) -> None:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)


class Cancellable:
    """A context, to be used once, in which these signals raise Cancelled, also those that wait. After it they wait."""

    def __init__(self) -> None:
        self._done = False

    def __enter__(self) -> None:
        for number in SIGNALS:
            signal.signal(number, self._cancel)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def _cancel(self, number: int, _frame: FrameType | None) -> None:
        # what the first one brings about is not for the second one to end
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        if not self._done:  # of two that have waited both come here
            self._done = True
            raise Cancelled(signal.Signals(number).name)
