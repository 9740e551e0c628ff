"""``python -m pycontain.cli``, for a checkout that is not installed."""

from __future__ import annotations

from pycontain.cli.main import run

run()
