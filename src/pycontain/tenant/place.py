"""Where tenants are: settings files, state directories, names, numbers, locks."""

from __future__ import annotations

import os
import re

from pycontain.kernel import lock
from pycontain.kernel.errors import Error, InUse, NotFound, UsageError, os_text
from pycontain.tenant import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontain.engine.paths import Paths
    from pycontain.tenant.state import State

DIRECTORY = "/etc/pycontain/tenants"
VARIABLE = "PYCONTAIN_TENANTS"
SUFFIX = ".toml"
#: No such tenant: exit status of status, and of all other verbs.
EXIT_MISSING = 4
#: So long, in seconds, a verb waits for another one on the same tenant: a stop may take its whole timeout.
PATIENCE = 150.0

_NAME = re.compile(r"(?=.{1,48}$)[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
#: State directories that are on their way out.
_GONE = ".gone-"


class Missing(NotFound):
    """A tenant that does not exist."""

    status = EXIT_MISSING


def check_name(name: str) -> str:
    """A tenant's name. Raises UsageError."""
    if not _NAME.fullmatch(name) or name.isdigit() or name.endswith(SUFFIX):
        raise UsageError(
            f"{name!r} is not a name for a tenant: letters, digits, '-', '_' and '.', at most 48, not digits alone"
        )
    return name


def container_name(name: str) -> str:
    """The name of a tenant's container."""
    return f"tenant-{name}"


class Held:
    """A lock, held until the ``with`` ends."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


class Tenants:
    """All tenants of a host. paths: of the engine. directory: of the settings files."""

    __slots__ = ("directory", "paths")

    def __init__(self, paths: Paths, directory: str = DIRECTORY) -> None:
        self.paths = paths
        self.directory = directory

    # --- paths ----------------------------------------------------------------------------------------------------

    @property
    def home(self) -> str:
        return f"{self.paths.root}/tenants"

    def settings_path(self, name: str) -> str:
        return f"{self.directory}/{name}{SUFFIX}"

    def state_directory(self, name: str) -> str:
        return f"{self.home}/{name}"

    def state_path(self, name: str) -> str:
        return f"{self.home}/{name}/state.json"

    # --- names ----------------------------------------------------------------------------------------------------

    def configured(self) -> list[str]:
        """Names that have a settings file, in order. Raises Error."""
        found = [entry[: -len(SUFFIX)] for entry in _listed(self.directory) if entry.endswith(SUFFIX)]
        return sorted(name for name in found if _NAME.fullmatch(name) and not name.isdigit())

    def kept(self) -> list[str]:
        """Names that have a state directory, in order. Raises Error."""
        return sorted(
            name
            for name in _listed(self.home)
            if _NAME.fullmatch(name) and not name.isdigit() and os.path.isdir(f"{self.home}/{name}")
        )

    def names(self) -> list[str]:
        """All tenants: what has settings or state. Raises Error."""
        return sorted({*self.configured(), *self.kept()})

    def exists(self, name: str) -> bool:
        return os.path.exists(self.settings_path(name)) or os.path.isdir(self.state_directory(name))

    def find(self, text: str) -> str:
        """The name that a name or a number means. Raises Missing, UsageError, Error."""
        if text.isascii() and text.isdigit() and len(text) <= 10:
            for name in self.kept():
                try:
                    found = self.state(name)
                except Error:
                    continue  # which one it is nobody knows; others are not to suffer for it
                if found is not None and found.id == int(text):
                    return name
            raise Missing(f"no tenant has the number {text}: 'pycontain tenant list' lists those that exist")
        check_name(text)
        self._readable()
        if not self.exists(text):
            raise Missing(f"no tenant {text!r}: 'pycontain tenant list' lists those that exist")
        return text

    def _readable(self) -> None:
        if os.geteuid() != 0:
            raise Error("tenants are root's: run pycontain with sudo")

    # --- state ----------------------------------------------------------------------------------------------------

    def state(self, name: str) -> State | None:
        """None where there is none. Raises Error for one that is damaged."""
        return state.read(self.state_path(name))

    def coming_as(self, name: str) -> str:
        """The tenant that an interrupted rename was giving this name, "" for none."""
        for other in self.kept():
            try:
                found = self.state(other)
            except Error:
                continue
            if found is not None and found.phase == state.RENAMING and found.detail.get("to") == name:
                return other
        return ""

    def write_state(self, name: str, found: State) -> None:
        """Raises Error."""
        state.write(self.state_path(name), found)

    # --- locks ----------------------------------------------------------------------------------------------------

    def lock(self, name: str, seconds: float = PATIENCE) -> Held:
        """The lock of a tenant that has a state directory. Raises Missing where it is gone, InUse, Error."""
        path = f"{self.state_directory(name)}/lock"
        while True:
            try:
                fd = lock.open_lock(path)
            except (FileNotFoundError, NotADirectoryError):
                raise Missing(
                    f"no tenant {name!r}: it has no state: 'pycontain tenant create {name}' makes it"
                ) from None
            except OSError as error:
                raise Error(f"cannot lock {path}: {os_text(error)}") from None
            if not lock.wait_lock(fd, seconds):
                os.close(fd)
                raise InUse(f"tenant {name}: another command works on it: try again")
            if _same(fd, path):
                return Held(fd)
            os.close(fd)  # it was renamed or removed while we waited

    def working(self, name: str) -> bool:
        """Whether somebody has its lock."""
        try:
            fd = os.open(f"{self.state_directory(name)}/lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            return lock.is_locked(fd)
        finally:
            os.close(fd)

    def all_lock(self) -> Held:
        """Names, numbers and addresses are given away under it: for a moment only. Raises Error."""
        try:
            os.makedirs(self.home, 0o700, exist_ok=True)
            fd = lock.open_lock(f"{self.home}/.lock")
        except OSError as error:
            raise Error(f"cannot lock {self.home}: {os_text(error)}") from None
        if not lock.wait_lock(fd, PATIENCE):
            os.close(fd)
            raise InUse(f"{self.home}: another command has the lock: try again")
        return Held(fd)

    # --- what is unique -------------------------------------------------------------------------------------------

    def numbers(self) -> dict[int, str]:
        """Numeric ID → name, from state and from settings. What cannot be read has none."""
        import tomllib

        found: dict[int, str] = {}
        for name in self.configured():
            try:
                with open(self.settings_path(name), "rb") as stream:
                    number = tomllib.load(stream).get("id")
            except (OSError, ValueError):
                continue
            if type(number) is int and number > 0:
                found.setdefault(number, name)
        for name in self.kept():
            try:
                known = self.state(name)
            except Error:
                continue
            if known is not None and known.id:
                found[known.id] = name
        return found

    def addresses(self) -> dict[str, str]:
        """Address → name of the tenant whose settings have it. What cannot be read has none."""
        import tomllib

        from pycontain.network.settings import packed, printed

        found: dict[str, str] = {}
        for name in self.configured():
            try:
                with open(self.settings_path(name), "rb") as stream:
                    devices = tomllib.load(stream).get("network") or []
                for device in devices:
                    for address in device.get("addresses") or []:
                        found.setdefault(printed(packed(address)), name)
            except (OSError, ValueError, AttributeError, TypeError):
                continue
        return found

    # --- going away -----------------------------------------------------------------------------------------------

    def discard(self, name: str) -> None:
        """The state directory goes, in one step for everybody who looks. Raises Error."""
        from pycontain.engine import repair

        directory = self.state_directory(name)
        gone = f"{self.home}/{_GONE}{os.urandom(4).hex()}"
        try:
            os.rename(directory, gone)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Error(f"cannot remove {directory}: {os_text(error)}") from None
        repair.remove_tree(gone)

    def leftovers(self) -> Iterator[str]:
        """Directories whose removal was interrupted."""
        for entry in _listed(self.home):
            if entry.startswith(_GONE):
                yield f"{self.home}/{entry}"

    def sweep(self) -> None:
        """Take away what an interrupted removal has left. Raises Error."""
        from pycontain.engine import repair

        for path in self.leftovers():
            repair.remove_tree(path)


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        hint = ": tenants are root's: run pycontain with sudo" if isinstance(error, PermissionError) else ""
        raise Error(f"{directory}: {os_text(error)}{hint}") from None


def _same(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False
