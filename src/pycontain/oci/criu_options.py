"""The options that checkpoint and restore share, as CRIU's (message criu_opts)."""

from __future__ import annotations

import os

from pycontain.kernel.errors import Error, UsageError, os_text
from pycontain.launch.labels import apparmor_enabled, selinux_enabled
from pycontain.launch.namespaces import NEWNET
from pycontain.oci import criu
from pycontain.oci import criu_messages as messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontain.oci.arguments import Call
    from pycontain.oci.criu_messages import Fields, Value

#: runc's, for a directory that is not given.
_IMAGES = "checkpoint"
#: runc's: it is for the host's wishes, and wins over what is set here. The annotation names another.
_CONFIG = "/etc/criu/runc.conf"
_ANNOTATION = "org.criu.config"
_FLAGS = (
    "leave-running tcp-established tcp-skip-in-flight tcp-close ext-unix-sk shell-job file-locks lazy-pages auto-dedup "
    "link-remap"
).split()
#: What --lsm-profile begins with → its name, whether the kernel has it.
_MODULES = {"apparmor": ("AppArmor", apparmor_enabled), "selinux": ("SELinux", selinux_enabled)}
#: What CRIU says → what helps, where it does not say that itself.
_HINTS = {
    "without peer": "a Unix socket is connected with one of another network namespace, which CRIU cannot save",
    "page-pipe: splice": "lazy pages need larger pipes: sysctl fs.pipe-max-size=4194304",
    "Can't get 1:16 opt": "CRIU 4.2 or newer is needed for TCP sockets on this kernel",
}


class Options:
    """images: the directory of the image files. work: that of the log and of statistics. program: CRIU."""

    __slots__ = ("_fields", "images", "log", "program", "work")

    def __init__(self, call: Call, log: str) -> None:
        """Raises UsageError, Error where there is no CRIU."""
        mode = call.text("manage-cgroups-mode")
        if mode not in messages.CGROUP_MODES:
            raise UsageError(f"Invalid manage-cgroups-mode value {mode!r}: it is soft, full, strict or ignore", 1)
        for name in call.every("empty-ns"):
            if name != "network":
                raise UsageError(f"namespace {name!r} is not supported: --empty-ns takes network", 1)
        self.images = os.path.abspath(call.text("image-path") or _IMAGES)
        self.work = os.path.abspath(call.text("work-path")) if call.text("work-path") else self.images
        self.log = f"{self.work}/{log}"
        self.program = criu.find(call.globals.get("criu", ""))
        self._fields: Fields = []
        # the caller's tools set devices and addresses up, before a container as after a restore
        self.add("empty_ns", NEWNET)
        self.add("log_level", 4)
        self.add("log_file", log)
        self.add("notify_scripts", 1)
        self.add("orphan_pts_master", 1)
        self.add("manage_cgroups", 1)
        self.add("manage_cgroups_mode", messages.CGROUP_MODES[mode])
        self.add("network_lock", messages.NETWORK_LOCK_NFTABLES)
        for flag in _FLAGS:
            if call.flag(flag):
                self.add(flag.replace("-", "_"), 1)

    def add(self, name: str, value: Value) -> None:
        """One more, by its name in criu_opts."""
        self._fields.append((messages.OPTIONS[name], value))

    def extend(self, fields: Fields) -> None:
        self._fields += fields

    def labels(self, call: Call) -> None:
        """restore's --lsm-profile and --lsm-mount-context. Raises UsageError, Error where this host has no such thing:
        CRIU says nothing of a context then.
        """
        profile, context = call.text("lsm-profile"), call.text("lsm-mount-context")
        if profile:
            kind, colon, name = profile.partition(":")
            if kind not in _MODULES or not colon or not name:
                raise UsageError(f"--lsm-profile {profile!r}: it is apparmor:PROFILE or selinux:LABEL", 1)
            title, enabled = _MODULES[kind]
            if not enabled():
                raise Error(f"--lsm-profile: {title} is not enabled on this host", 1)
            self.add("lsm_profile", profile)
        if context:
            if not selinux_enabled():
                raise Error("--lsm-mount-context: SELinux is not enabled on this host", 1)
            self.add("lsm_mount_context", context)

    def configuration(self, spec: dict[str, Any]) -> None:
        """The configuration file of CRIU's; none where the annotation is empty."""
        annotations = spec.get("annotations")
        path = (annotations if type(annotations) is dict else {}).get(_ANNOTATION, _CONFIG)
        if type(path) is str and path:
            self.add("config_file", path)

    def open(self) -> list[int]:
        """Descriptors of the two directories, which stay open until CRIU has answered. Raises Error."""
        found = [_open(self.images, "image-path")]
        self.add("images_dir_fd", found[0])
        if self.work != self.images:
            try:
                os.makedirs(self.work, 0o700, exist_ok=True)
            except OSError as error:
                raise Error(f"--work-path {self.work}: {os_text(error)}", 1) from None
            found.append(_open(self.work, "work-path"))
            self.add("work_dir_fd", found[1])
        return found

    def request(self) -> Fields:
        return [(messages.REQUEST_OPTIONS, messages.encode(self._fields))]

    def explain(self, what: str, error: criu.Failed) -> Error:
        """CRIU's refusal with what its log tells, and where the rest is."""
        said = criu.excerpt(self.log) or error.message or "without a word"
        hint = next((f"; {text}" for words, text in _HINTS.items() if words in said and text not in said), "")
        return Error(f"{what}: CRIU: {said}{hint} (its log: {self.log})", 1)


def _open(path: str, option: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Error(f"--{option} {path}: {os_text(error)}", 1) from None
