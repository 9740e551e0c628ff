"""Where an ordinary user's containers are: in no directory that somebody else could have made first."""

from __future__ import annotations

import pytest

from pycontain.kernel import rootless


def test_a_user_without_a_home_has_the_private_run_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in /tmp that everybody can guess would let another user give this one images and settings."""
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(rootless.VARIABLE, "3999999999 3")  # in no passwd(5)
    monkeypatch.setenv(rootless.DIRECTORY, "/run/private")
    assert rootless.home() == "/run/private/home/.local/share/pycontain"
    assert rootless.configuration() == "/run/private/home/.config/pycontain/pycontain.toml"
