"""The clients' programs, which need to be installed."""

from __future__ import annotations

import shutil

import pytest

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def need(*names: str) -> None:
    """Fail, and say what installs them, where one is missing."""
    missing = [name for name in names if not shutil.which(name, path=PATH)]
    if missing:
        pytest.fail(f"{', '.join(missing)}: not installed: scripts/need-packages clients", pytrace=False)
