"""mmdebstrap: packages of Debian in a directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.host.cache import NotReady

_TIMEOUT = 900


def unpack(what: str, command: list[str], path: Path) -> None:
    """Run mmdebstrap, whose words are all but the directory. $PYCONTAIN_TESTS_MIRROR: a mirror other than its choice.

    what: what is made, for errors. Raises NotReady.
    """
    if not shutil.which("mmdebstrap"):
        raise NotReady(f"{what} is made by mmdebstrap, which is missing: apt-get install mmdebstrap")
    command = [*command, str(path), *filter(None, [os.environ.get("PYCONTAIN_TESTS_MIRROR")])]
    # its mounts die with the namespace, and it dies with us
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", *command]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise NotReady(f"{what} was not made within {_TIMEOUT} s: {command}") from error
    if done.returncode:
        said = "\n".join(done.stderr.splitlines()[-20:])
        raise NotReady(f"{what} cannot be made: mmdebstrap ended with {done.returncode}:\n{said}")
