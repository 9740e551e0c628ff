"""run and create: a container from an image."""

from __future__ import annotations

from pycontain.cli import security, values
from pycontain.cli.args import Argument, Flag, Options, Verb, integer, plain, seconds, size, text
from pycontain.cli.verbs import limits, shared, storage
from pycontain.engine.paths import Paths
from pycontain.engine.request import MountRequest, Request
from pycontain.kernel.errors import UsageError

FILES = "Files and devices"
NETWORK = "Network"
SECURITY = "Security and namespaces"
LOG = "Log"

_GENERAL = (
    Flag("--name", "Name of the container (default: one is made up).", values.name, "NAME"),
    Flag("-d, --detach", "Print the container's ID and leave it running in the background."),
    Flag("--rm", "Remove the container when it has ended."),
    Flag("--init", "Run a small init as PID 1 that passes signals on and reaps processes."),
    Flag(
        "--restart",
        "When to start it again: no, on-failure[:N], always, unless-stopped.",
        values.restart,
        "POLICY",
        default="no",
    ),
    Flag("--stop-signal", "Signal that asks it to stop (default: the image's, else TERM).", values.signal, "SIGNAL"),
    Flag("--stop-timeout", "How long it has to stop before SIGKILL.", seconds, "SECONDS", default="10"),
    Flag("-l, --label", "A label, for your own use and for ps --filter.", values.label, "KEY[=VALUE]", repeat=True),
    Flag("--cidfile", "Write the container's ID to a file that does not exist yet.", plain, "FILE"),
)

_TERMINAL = (shared.INTERACTIVE, shared.TTY, shared.DETACH_KEYS, shared.SIG_PROXY)

_PROCESS = (
    shared.ENV,
    shared.ENV_FILE,
    shared.WORKDIR,
    shared.USER,
    Flag("--group-add", "A further group, by name or number.", plain, "GROUP", repeat=True, group=shared.PROCESS),
    Flag(
        "--entrypoint",
        "Program that runs instead of the image's entry point; '' runs COMMAND itself.",
        text,
        "PROGRAM",
        group=shared.PROCESS,
    ),
    Flag(
        "-h, --hostname",
        "Host name in the container (default: the beginning of its ID).",
        values.hostname,
        "NAME",
        group=shared.PROCESS,
    ),
)

_FILES = (
    Flag(
        "-v, --volume",
        "Mount a path of the host, or a volume by its name, in the container;"
        " OPTIONS with commas: ro, rbind, rslave, nosuid, nodev, noexec ...",
        values.volume,
        "SOURCE:TARGET[:OPTIONS]",
        repeat=True,
        group=FILES,
    ),
    Flag(
        "--mount",
        "Mount, in words: type=bind,source=PATH,destination=PATH[,readonly],"
        " or type=tmpfs,destination=PATH[,tmpfs-size=64m].",
        values.mount,
        "KEY=VALUE,...",
        repeat=True,
        group=FILES,
    ),
    Flag(
        "--tmpfs",
        "Mount an empty tmpfs; OPTIONS with commas: size=64m, mode=1777, exec ...",
        values.tmpfs,
        "TARGET[:OPTIONS]",
        repeat=True,
        group=FILES,
    ),
    Flag("--read-only", "Mount the container's root read-only.", group=FILES),
    Flag("--shm-size", "Size of /dev/shm.", size, "SIZE", default="64m", group=FILES),
    storage.flag(FILES),
    Flag(
        "--device",
        "Give the container a device of the host; rwm: read, write, mknod.",
        values.device,
        "SOURCE[:TARGET][:rwm]",
        repeat=True,
        group=FILES,
    ),
)

_NETWORK = (
    Flag(
        "--network, --net",
        "bridge: an address of its own behind the host; routed: the same without a bridge; none: loopback only;"
        " host: the host's network; container:NAME: that container's network. Several times: a device each, with"
        " bridge:KEY=VALUE,... or routed:KEY=VALUE,... (ip, mac, rate, interface_name).",
        values.network,
        "NETWORK[:KEY=VALUE,...]",
        default="bridge",
        repeat=True,
        group=NETWORK,
    ),
    Flag(
        "-p, --publish",
        "Publish a port on the host: 8080:80, 127.0.0.1:8080:80/udp, 8000-8010:8000-8010, 80 (any free host port).",
        plain,
        "[[IP:]HOST:]PORT[/PROTO]",
        repeat=True,
        group=NETWORK,
    ),
    Flag(
        "--ip",
        "IPv4 address on the bridge; with --network routed any addresses, IPv4 and IPv6 (default: a free one).",
        values.addresses,
        "ADDRESS[,ADDRESS...]",
        repeat=True,
        group=NETWORK,
    ),
    Flag("--mac-address", "MAC address, with --network routed.", values.mac, "MAC", group=NETWORK),
    Flag(
        "--rate",
        "Bits a second, each way, with --network routed: 10M, 512k.",
        values.rate,
        "RATE",
        group=NETWORK,
    ),
    Flag("--dns", "Name server instead of the host's.", values.address, "ADDRESS", repeat=True, group=NETWORK),
    Flag("--dns-search", "Search domain; . for none.", values.search_domain, "DOMAIN", repeat=True, group=NETWORK),
    Flag(
        "--add-host",
        "A line for /etc/hosts; host-gateway stands for the host's address on the bridge.",
        values.add_host,
        "NAME:ADDRESS",
        repeat=True,
        group=NETWORK,
    ),
)

_LIMITS = (
    *limits.FLAGS,
    Flag(
        "--ulimit",
        "A resource limit, such as nofile=1024:2048, core=0, memlock=unlimited.",
        values.ulimit,
        "NAME=SOFT[:HARD]",
        repeat=True,
        group=limits.GROUP,
    ),
    Flag(
        "--oom-score-adj",
        "How readily the kernel kills it when memory is short: -1000 never, 1000 first.",
        integer(-1000, 1000),
        "NUMBER",
        group=limits.GROUP,
    ),
    Flag(
        "--cgroup-parent",
        "Cgroup under which the container's is made; with --cgroup-manager=systemd a slice.",
        plain,
        "PATH",
        group=limits.GROUP,
    ),
    Flag(
        "--missing-controllers",
        "What becomes of a limit that this host cannot enforce: error, or warn and start without it (default: of the"
        " configuration file, else error).",
        choices=("error", "warn"),
        group=limits.GROUP,
    ),
)

_NAMESPACES = ("private", "host")

_SECURITY = (
    Flag(
        "--cap-add",
        "Give a capability, such as NET_ADMIN, or ALL.",
        values.capability,
        "NAME",
        repeat=True,
        group=SECURITY,
    ),
    Flag("--cap-drop", "Take a capability away, or ALL.", values.capability, "NAME", repeat=True, group=SECURITY),
    Flag(
        "--security-opt",
        "seccomp=FILE or unconfined, apparmor=PROFILE, label=disable or PART:TEXT, no-new-privileges,"
        " mask=PATH:PATH, unmask=PATH:PATH or ALL, systempaths=unconfined.",
        security.option,
        "OPTION",
        repeat=True,
        group=SECURITY,
    ),
    Flag(
        "--supervise",
        "System calls that pycontain makes or answers in the container's place: mknod (harmless devices), sysinfo (its"
        " own limits), mount (all of tmpfs, overlay, fuse, or mount=TYPE,TYPE); with commas, or given again.",
        plain,
        "CALL,...",
        repeat=True,
        group=SECURITY,
    ),
    Flag(
        "--privileged",
        "Give all capabilities and all devices of the host, without filter and masks: root in it is root of the host.",
        group=SECURITY,
    ),
    Flag(
        "--sysctl",
        "Set a sysctl of the container's namespaces, such as net.core.somaxconn=1024.",
        values.sysctl,
        "NAME=VALUE",
        repeat=True,
        group=SECURITY,
    ),
    Flag(
        "--userns",
        "User namespace. auto: a range of IDs of its own, 65536 or size=N; host: the host's; keep-id: the caller's IDs"
        " stay as they are; private:UID:HOST:SIZE,...: these IDs; container:NAME: that container's (default: of the"
        " configuration file, else auto).",
        values.userns,
        "MODE",
        group=SECURITY,
    ),
    Flag(
        "--systemd",
        "Boot a system: true, where COMMAND is systemd or an init in an sbin directory; always; false.",
        default="true",
        choices=("true", "false", "always"),
        group=SECURITY,
    ),
    Flag("--pid", "PID namespace.", default="private", choices=_NAMESPACES, group=SECURITY),
    Flag("--ipc", "IPC namespace.", default="private", choices=_NAMESPACES, group=SECURITY),
    Flag("--uts", "UTS namespace: whose host name it sees.", default="private", choices=_NAMESPACES, group=SECURITY),
)

_LOG = (
    Flag("--log-size", "Size at which the log is rotated; 0 keeps no log.", size, "SIZE", default="10m", group=LOG),
    Flag("--log-files", "How many log files are kept.", integer(1, 1000), "NUMBER", default="3", group=LOG),
)

_FLAGS = (*_GENERAL, *_TERMINAL, *_PROCESS, *_FILES, *_NETWORK, *_LIMITS, *_SECURITY, *_LOG)
#: What is about the process that waits, which create has not.
_FOREGROUND = ("detach", "detach-keys", "sig-proxy")

_ARGUMENTS = (
    Argument("image", "Name of an image, or its ID.", complete="image"),
    Argument(
        "command",
        "Command and its arguments (default: the image's). Flags after IMAGE are the command's own.",
        text,
        optional=True,
        many=True,
    ),
)


def check(options: Options) -> None:
    """Refuse flags that cannot be together. Raises UsageError."""
    restart = options.one("restart", values.Restart)
    if options.flag("rm") and restart is not None and restart.policy != "no":
        raise UsageError(f"--rm and --restart {restart.policy} cannot be together: give one of them")
    limits.check(options)
    limits.read(options).check()
    _check_network(options)
    if options.text("uts") == "host" and options.has("hostname"):
        raise UsageError("--hostname would change the host's name: it cannot be with --uts host")


def _check_network(options: Options) -> None:
    network = options.many("network")[0]
    if len(options.many("network")) > 1 or "=" in network:
        from pycontain.cli import devices

        devices.check(options)
        return
    routed = ("mac-address", "rate")
    refused = {
        "routed": (),
        "bridge": routed,
        "none": ("publish", "ip", *routed),
        "host": ("publish", "ip", *routed),
    }.get(network, ("publish", "ip", "hostname", "dns", "dns-search", "add-host", *routed))
    for key in refused:
        if options.has(key):
            why = "it is for --network routed" if network == "bridge" else "where there is nothing to set"
            raise UsageError(f"--{key} cannot be with --network {network}, {why}")
    if network == "bridge" and options.has("ip"):
        values.ipv4(",".join(options.many("ip")))
    elif options.has("ip"):
        from pycontain.network import routed as network_routed

        network_routed.check_addresses(",".join(options.many("ip")).split(","))


RUN = Verb(
    "run",
    "Make a container from an image and run a command in it",
    _FLAGS,
    _ARGUMENTS,
    interspersed=False,
    check=check,
    description="Make a container from IMAGE, start it, and wait for its end."
    " The exit status is the command's own; 128+n where signal n ended it; 125 where pycontain failed, 126 where the"
    " command could not be invoked, 127 where it was not found.",
    epilog="""
pycontain run --rm -it busybox
pycontain run -d --name web -p 8080:80 busybox httpd -f
pycontain run --rm -m 256m --cpus 0.5 -v $PWD:/src:ro -w /src debian make
""",
)

CREATE = Verb(
    "create",
    "Make a container without starting it",
    [flag for flag in _FLAGS if flag.key not in _FOREGROUND],
    _ARGUMENTS,
    interspersed=False,
    handler="create",
    check=check,
    description="Make a container from IMAGE and print its ID; start starts it.",
    epilog="""
pycontain create --name job busybox sh -c 'echo done'
pycontain start -a job
""",
)


# --- what they do -------------------------------------------------------------------------------------------------


def _request(options: Options) -> Request:
    """The flags as the engine wants them."""
    request = Request(options.text("image"), options.many("command"))
    request.name = options.text("name")
    request.hostname = options.text("hostname")
    request.terminal, request.interactive = options.flag("tty"), options.flag("interactive")
    request.auto_remove, request.init = options.flag("rm"), options.flag("init")
    request.read_only = options.flag("read-only")
    request.env = values.environment(options)
    request.mounts = [
        MountRequest(item.type, item.source, item.target, item.options)
        for key in ("volume", "mount", "tmpfs")
        for item in options.all(key, values.Mount)
    ]
    request.workdir, request.user = options.text("workdir"), options.text("user")
    request.groups = options.many("group-add")
    request.entrypoint = options.text("entrypoint") if options.has("entrypoint") else None
    request.cap_add, request.cap_drop = options.many("cap-add"), options.many("cap-drop")
    security.read(options, request)
    if options.has("supervise"):
        from pycontain.launch import supervise

        request.supervise = supervise.parse(options.many("supervise"))
    if options.has("userns") or not request.privileged:
        request.userns = options.text("userns")
    request.systemd = options.text("systemd")
    request.ulimits = [(item.type, item.soft, item.hard) for item in options.all("ulimit", values.Ulimit)]
    request.sysctls = {item.key: item.value for item in options.all("sysctl", values.Pair)}
    request.devices = [(item.source, item.target, item.access) for item in options.all("device", values.Device)]
    _network(options, request)
    request.limits = limits.read(options)
    asked = storage.read(options)
    if asked is not None:
        request.disk = asked[0] or 0, asked[1] or 0
    request.oom_score_adj = options.number("oom-score-adj") if options.has("oom-score-adj") else None
    request.cgroup_parent, request.cgroup_manager = options.text("cgroup-parent"), options.cgroup_manager
    request.missing_controllers = options.text("missing-controllers")
    restart = options.one("restart", values.Restart)
    if restart is not None:
        request.restart, request.restart_max = restart.policy, restart.maximum
    request.labels = {item.key: item.value for item in options.all("label", values.Pair)}
    if options.has("stop-signal"):
        request.stop_signal = options.number("stop-signal")
    request.stop_timeout = options.number("stop-timeout")
    request.shm_size = options.number("shm-size")
    request.host_namespaces = {key for key in ("pid", "ipc", "uts") if options.text(key) == "host"}
    request.log_size, request.log_files = options.number("log-size"), options.number("log-files")
    request.cidfile = options.text("cidfile")
    return request


def _network(options: Options, request: Request) -> None:
    request.network, request.ip = options.many("network")[0], ",".join(options.many("ip"))
    request.mac = options.text("mac-address")
    request.rate = options.number("rate") if options.has("rate") else 0
    if len(options.many("network")) > 1 or "=" in request.network:
        from pycontain.cli import devices

        devices.read(options, request)
    request.ports = options.many("publish")
    request.dns, request.dns_search = options.many("dns"), options.many("dns-search")
    request.hosts = [(item.key, item.value) for item in options.all("add-host", values.Pair)]


def main(options: Options) -> int:
    """Make a container and become what waits for it."""
    from pycontain.engine import run

    request = _request(options)
    request.detach = options.flag("detach")
    request.detach_keys = options.one("detach-keys", bytes) or b""
    run.run(Paths(options.root, options.run_root), request, options.flag("sig-proxy"))


def create(options: Options) -> int:
    """Make a container and print its ID."""
    from pycontain.engine import run

    print(run.create(Paths(options.root, options.run_root), _request(options)))
    return 0
