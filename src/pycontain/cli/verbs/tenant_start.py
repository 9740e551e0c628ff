"""What create and start of tenants have to do with a guest's boot: keys, waiting until it is up, rescue."""

from __future__ import annotations

from pycontain.cli.args import Flag, Options, plain, seconds
from pycontain.cli.verbs.each import each
from pycontain.kernel.errors import Error, UsageError, os_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.tenant.place import Tenants

FLAGS = (
    Flag("-w, --wait", "Wait until its init says that it is up."),
    Flag("-t, --timeout", "How long --wait waits.", seconds, "SECONDS", default="120"),
    Flag("--rescue", "Start a shell in the place of its init, and connect this terminal to it."),
    Flag("--rescue-command", "What --rescue starts instead of the shell; words apart by blanks.", plain, "COMMAND"),
)
_SHELL = ["/bin/sh"]
#: What begins a line of authorized_keys that has no options before the key (sshd(8)).
_KEY_TYPES = ("ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-")
_LONGEST = 64 << 10


def check(options: Options) -> None:
    """Raises UsageError."""
    if options.has("rescue-command") and not options.flag("rescue"):
        raise UsageError("--rescue-command says what --rescue starts: give both")
    if options.flag("rescue") and options.flag("wait"):
        raise UsageError("--wait waits for an init, and --rescue starts none: give one of them")
    if options.flag("rescue") and len(options.many("tenants")) > 1:
        raise UsageError("--rescue is for one tenant")
    if options.flag("rescue") and options.has("rescue-command") and not options.text("rescue-command").split():
        raise UsageError("--rescue-command: is empty")


def start(options: Options, tenants: Tenants) -> int:
    """Start tenants."""
    from pycontain.tenant import life

    if options.flag("rescue"):
        return _rescue(options, tenants)

    names = options.many("tenants")
    if not options.flag("wait"):
        return each(names, lambda text: life.start(tenants, text))
    failed: dict[str, Error] = {}
    for text in names:  # all are on their way before the first is waited for
        try:
            life.start(tenants, text)
        except Error as error:
            failed[text] = error

    def wait(text: str) -> None:
        if text in failed:
            raise failed[text]
        _wait(tenants, text, float(options.number("timeout")))

    return each(names, wait)


def _wait(tenants: Tenants, text: str, patience: float) -> None:
    from pycontain.tenant import ready

    name = tenants.find(text)
    known = tenants.state(name)
    if known is not None and known.container:
        ready.wait(tenants.paths, known.container, name, patience)


def _rescue(options: Options, tenants: Tenants) -> int:
    import os

    from pycontain.cli import table
    from pycontain.tenant import console, life

    text = options.many("tenants")[0]
    command = options.text("rescue-command").split() or _SHELL
    life.start(tenants, text, command)
    name = tenants.find(text)
    known = tenants.state(name)
    if known is None or not os.isatty(0):
        table.show(f"{text}\n")
        return 0
    return console.show(tenants.paths, known.container, name, b"\x10\x11", lines=0, wait=False)


# --- keys ---------------------------------------------------------------------------------------------------------


def ssh_keys(paths: list[str]) -> list[str]:
    """The public keys in files, checked. Raises UsageError, Error."""
    return [key for path in paths for key in _keys_of(path)]


def _keys_of(path: str) -> list[str]:
    import sys

    where = "standard input" if path == "-" else path
    try:
        if path == "-":
            text = sys.stdin.read(_LONGEST)
        else:
            with open(path, encoding="utf-8") as file:
                text = file.read(_LONGEST)
    except OSError as error:
        raise Error(f"--ssh-key {where}: {os_text(error)}") from None
    except UnicodeDecodeError:
        raise Error(f"--ssh-key {where}: is no text: give a public key, such as ~/.ssh/id_ed25519.pub") from None
    if "PRIVATE KEY" in text:
        raise UsageError(f"--ssh-key {where}: is a private key: give the public one, the file that ends in .pub")
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    for key in keys:
        if not any(word.startswith(_KEY_TYPES) for word in key.split()) or len(key.split()) < 2:
            raise UsageError(f"--ssh-key {where}: {key[:20]!r} is not a public key as ssh-keygen(1) writes it")
    if not keys:
        raise UsageError(f"--ssh-key {where}: there is no key in it")
    return keys
