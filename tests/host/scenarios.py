"""Scenarios that run inside a test host: a program made of them prints one JSON line a scenario."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable


class Scenarios(dict[str, Callable[[], None]]):
    """Functions by name; each raises where what it tries does not hold."""

    def add(self, function: Callable[[], None]) -> Callable[[], None]:
        """As a decorator."""
        self[function.__name__] = function
        return function

    def main(self, names: list[str]) -> None:
        """Run those named, or all."""
        for name in names or self:
            began = time.monotonic()
            try:
                self[name]()
                problem = ""
            except BaseException:
                problem = traceback.format_exc()
            seconds = round(time.monotonic() - began, 3)
            print("RESULT " + json.dumps({"name": name, "problem": problem, "seconds": seconds}), flush=True)
            if problem:
                print(problem, file=sys.stderr, flush=True)
