"""image: how names are shown."""

from __future__ import annotations

import pytest

from pycontain.engine import images

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("busybox:latest", ("busybox", "latest")),
        ("localhost:5000/a/b:1", ("localhost:5000/a/b", "1")),
        (f"a@{DIGEST}", ("a", DIGEST)),
        ("", ("<none>", "<none>")),
    ],
)
def test_repository_and_tag(name: str, shown: tuple[str, str]) -> None:
    assert images.repository(name) == shown
