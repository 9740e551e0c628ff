"""The options of every verb, as runc spells them.

An option is ``name`` or ``name,letter``; ``=`` at its end: it has a value.
"""

from __future__ import annotations


class Verb:
    """What a verb takes. in_order: options end at the first word, since what follows belongs to another command."""

    __slots__ = ("flags", "in_order", "short", "values")

    def __init__(self, text: str, *, in_order: bool = False) -> None:
        self.values: set[str] = set()
        self.flags: set[str] = set()
        #: letter → name
        self.short: dict[str, str] = {}
        self.in_order = in_order
        for word in [*text.split(), "help,h"]:
            name, _, letter = word.removesuffix("=").partition(",")
            (self.values if word.endswith("=") else self.flags).add(name)
            if letter:
                self.short[letter] = name


GLOBAL = Verb(
    "root= log= log-format= rootless= criu= cgroup-manager= missing-controllers= trace= debug systemd-cgroup version,v"
)

_CREATE = "bundle,b= config,f= console-socket= pid-file= pidfd-socket= preserve-fds= no-pivot no-new-keyring"
_CRIU = (
    "image-path= work-path= tcp-established ext-unix-sk shell-job lazy-pages file-locks manage-cgroups-mode= "
    "empty-ns= auto-dedup link-remap"
)

VERBS = {
    "create": Verb(_CREATE),
    "run": Verb(f"{_CREATE} detach,d keep no-subreaper"),
    "start": Verb(""),
    "exec": Verb(
        "console-socket= pidfd-socket= cwd= env,e= tty,t user,u= additional-gids,g= process,p= detach,d pid-file= "
        "process-label= apparmor= no-new-privs cap,c= preserve-fds= cgroup= ignore-paused no-subreaper",
        in_order=True,
    ),
    "state": Verb(""),
    "list": Verb("format,f= quiet,q"),
    "ps": Verb("format,f=", in_order=True),
    "kill": Verb("all,a regex,r"),
    "delete": Verb("force,f regex,r"),
    "pause": Verb(""),
    "resume": Verb(""),
    "update": Verb(
        # update.py, OPTIONS; not imported from there: create must not pay for it
        "resources,r= memory= memory-swap= memory-reservation= cpu-period= cpu-quota= cpu-burst= cpu-share= cpu-idle= "
        "cpu-rt-runtime= cpu-rt-period= pids-limit= blkio-weight= cpuset-cpus= cpuset-mems= l3-cache-schema= "
        "mem-bw-schema= kernel-memory= kernel-memory-tcp="
    ),
    "events": Verb("interval= stats"),
    "spec": Verb("bundle,b= rootless"),
    "features": Verb(""),
    "checkpoint": Verb(f"{_CRIU} parent-path= leave-running status-fd= page-server= pre-dump tcp-skip-in-flight"),
    "restore": Verb(
        f"{_CRIU} bundle,b= console-socket= pid-file= detach,d no-subreaper no-pivot lsm-profile= lsm-mount-context= "
        "tcp-close"
    ),
    "plan": Verb("bundle,b= format,f="),
}
