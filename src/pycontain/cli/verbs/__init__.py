"""The verbs: which module has which, and their other names.

A module here has the tables of its verbs, and the functions that do them: ``Verb.handler`` names the function of the
same module that takes ``args.Options`` and gives the exit status. Only the module of the verb that was asked for is
imported.
"""

from __future__ import annotations

from pycontain.kernel.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from pycontain.cli.args import Options, Verb

#: command → (module, name of its table there), in the order in which --help lists them
COMMANDS = {
    "run": ("run", "RUN"),
    "create": ("run", "CREATE"),
    "ps": ("ps", "PS"),
    "exec": ("exec", "EXEC"),
    "logs": ("logs", "LOGS"),
    "attach": ("attach", "ATTACH"),
    "stop": ("stop", "STOP"),
    "kill": ("kill", "KILL"),
    "start": ("start", "START"),
    "restart": ("restart", "RESTART"),
    "wait": ("wait", "WAIT"),
    "rm": ("rm", "RM"),
    "pause": ("pause", "PAUSE"),
    "unpause": ("pause", "UNPAUSE"),
    "rename": ("rename", "RENAME"),
    "update": ("update", "UPDATE"),
    "inspect": ("inspect", "INSPECT"),
    "top": ("top", "TOP"),
    "stats": ("stats", "STATS"),
    "port": ("port", "PORT"),
    "cp": ("cp", "CP"),
    "image build": ("image", "BUILD"),
    "image ls": ("image", "LS"),
    "image inspect": ("image", "INSPECT"),
    "image rm": ("image", "RM"),
    "image prune": ("image", "PRUNE"),
    "network ls": ("network", "LS"),
    "network inspect": ("network", "INSPECT"),
    "network prune": ("network", "PRUNE"),
    "volume ls": ("volume", "LS"),
    "volume rm": ("volume", "RM"),
    "volume prune": ("volume", "PRUNE"),
    "tenant create": ("tenant", "CREATE"),
    "tenant start": ("tenant", "START"),
    "tenant console": ("tenant_boot", "CONSOLE"),
    "tenant passwd": ("tenant_boot", "PASSWD"),
    "tenant stop": ("tenant", "STOP"),
    "tenant restart": ("tenant", "RESTART"),
    "tenant suspend": ("tenant", "SUSPEND"),
    "tenant resume": ("tenant", "RESUME"),
    "tenant destroy": ("tenant", "DESTROY"),
    "tenant rename": ("tenant", "RENAME"),
    "tenant status": ("tenant", "STATUS"),
    "tenant list": ("tenant", "LIST"),
    "tenant set": ("tenant", "SET"),
    "tenant get": ("tenant", "GET"),
    "tenant exec": ("tenant", "EXEC"),
    "tenant enter": ("tenant", "ENTER"),
    "tenant edit": ("tenant_tools", "EDIT"),
    "tenant runscript": ("tenant_tools", "RUNSCRIPT"),
    "tenant push": ("tenant_tools", "PUSH"),
    "tenant pull": ("tenant_tools", "PULL"),
    "tenant pid": ("tenant_tools", "PID"),
    "tenant top": ("tenant_tools", "TOP"),
    "tenant stats": ("tenant_tools", "STATS"),
    "tenant beancounters": ("tenant_tools", "BEANCOUNTERS"),
    "tenant wait": ("tenant_tools", "WAIT"),
    "tenant validate": ("tenant_tools", "VALIDATE"),
    "tenant schema": ("tenant_tools", "SCHEMA"),
    "tenant doctor": ("tenant_tools", "DOCTOR"),
    "tenant enable": ("tenant_service", "ENABLE"),
    "tenant disable": ("tenant_service", "DISABLE"),
    "tenant monitor": ("tenant_service", "MONITOR"),
    "tenant service": ("tenant_service", "SERVICE"),
    "tenant snapshot": ("tenant_disk", "SNAPSHOT"),
    "tenant reinstall": ("tenant_disk", "REINSTALL"),
    "tenant export": ("tenant_disk", "EXPORT"),
    "tenant import": ("tenant_disk", "IMPORT"),
    "system tune": ("system", "TUNE"),
    "planner": ("planner", "PLANNER"),
    "info": ("info", "INFO"),
    "version": ("info", "VERSION"),
}

#: The first words of commands of two words.
GROUPS = {
    "image": "Build, list and remove images",
    "network": "Look at the containers' network",
    "volume": "Look at and remove volumes",
    "system": "Look after the host under the containers",
    "tenant": "Make and run VPS-style guests, each with an init of its own",
    "container": "The container commands, as Docker groups them",
}

#: Other names for commands: Docker's and podman's.
ALIASES = {
    "build": "image build",
    "images": "image ls",
    "rmi": "image rm",
    "image list": "image ls",
    "image remove": "image rm",
    "network list": "network ls",
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "tenant ls": "tenant list",
    "container ls": "ps",
    "container list": "ps",
    "container ps": "ps",
    **{
        f"container {verb}": verb
        for verb in COMMANDS
        if " " not in verb and verb not in ("ps", "planner", "info", "version")
    },
}


def load(command: str) -> Verb:
    """The table of ``command``, a key of COMMANDS or ALIASES."""
    module, name = COMMANDS[ALIASES.get(command, command)]
    verb: Verb = getattr(_module(module), name)
    return verb


def handler(command: str) -> Callable[[Options], int]:
    """The function that does ``command``. Raises Error where this pycontain does not have it."""
    module, name = COMMANDS[ALIASES.get(command, command)]
    loaded = _module(module)
    verb: Verb = getattr(loaded, name)
    function: Callable[[Options], int] | None = getattr(loaded, verb.handler, None)
    if function is None:
        raise Error(f"{verb.name}: this pycontain is built without it")
    return function


def _module(name: str) -> ModuleType:
    return __import__(f"{__name__}.{name}", fromlist=["*"])
