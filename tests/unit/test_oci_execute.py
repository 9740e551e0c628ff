"""exec: which namespaces it joins."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pycontain.kernel.errors import Error
from pycontain.launch.namespaces import PROC_NAMES, TYPES
from pycontain.oci import execute
from pycontain.oci.state import Container


def test_a_kind_that_the_kernel_does_not_have_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "TYPES", {**TYPES, "moon": 1})
    monkeypatch.setattr(execute, "PROC_NAMES", {**PROC_NAMES, 1: "moon"})
    assert execute._namespaces(os.getpid(), Container(str(tmp_path), "c")) == []


def test_a_process_that_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(Error, match="container c has ended"):
        execute._namespaces(process.pid, Container(str(tmp_path), "c"))
