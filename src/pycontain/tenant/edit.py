"""edit: the settings in an editor. What comes of it is checked before it replaces anything."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from pycontain.kernel.errors import Error, InUse, os_text
from pycontain.tenant import change, file
from pycontain.tenant.hold import hold
from pycontain.tenant.place import Tenants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.change import Outcome


def edit(tenants: Tenants, text: str) -> Outcome | None:
    """None where nothing was changed. Raises Missing, InUse where somebody else has changed it meanwhile, Error."""
    name = tenants.find(text)
    path = tenants.settings_path(name)
    before = file.read_text(path)
    directory = tempfile.mkdtemp(prefix=f"{name}.")
    copy = f"{directory}/{name}.toml"
    try:
        file.write(copy, before)
        after = _edited(copy, path)
        if after == before:
            return None
        with hold(tenants, name) as tenant:
            if tenant.path != path or file.read_text(tenant.path) != before:
                raise InUse(f"{path} was changed by somebody else meanwhile: nothing was changed, edit it again")
            return change.replace_held(tenant, after)
    finally:
        for entry in os.listdir(directory):
            os.unlink(f"{directory}/{entry}")  # what the editor has left beside it, too
        os.rmdir(directory)


def _edited(copy: str, path: str) -> str:
    """What the editor has made of a copy. A person is asked again while it is not right. Raises Error."""
    while True:
        _run_editor(copy)
        text = file.read_text(copy)
        try:
            file.parse(text, path)
            return text
        except Error as error:
            if not _asked_again(error):
                raise


def _run_editor(copy: str) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    sys.stdout.flush()
    try:
        # as git(1) and crontab(1): the variable may have flags, so a shell divides it
        status = subprocess.run(["/bin/sh", "-c", f'{editor} "$1"', editor, copy], check=False).returncode
    except OSError as error:
        raise Error(f"editor {editor}: {os_text(error)}: set EDITOR") from None
    if status:
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        raise Error(f"the editor {editor} has failed ({how}): nothing was changed")


def _asked_again(error: Error) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    sys.stderr.write(f"pycontain: {error.message}\nEdit it again? [Y/n] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    return bool(answer) and answer.strip().lower() in ("", "y", "yes")
