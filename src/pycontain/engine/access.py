"""Who may look: the state directories are root's."""

from __future__ import annotations

import os

from pycontain.kernel.errors import Error, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.engine.paths import Paths


def check(paths: Paths) -> None:
    """Raises Error where this process cannot see which containers there are; a store that is not there yet is empty."""
    try:
        os.close(os.open(f"{paths.root}/names", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except FileNotFoundError:
        pass
    except PermissionError as error:
        raise Error(f"{paths.root}: {os_text(error)}: pycontain needs to be root: run it with sudo") from None
    except OSError as error:
        raise Error(f"cannot open {paths.root}/names: {os_text(error)}: is --root right?") from None
