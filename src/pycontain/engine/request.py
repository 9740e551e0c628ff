"""What somebody wants of a new container, with its flags already read."""

from __future__ import annotations

from pycontain.engine.limits import Limits


class MountRequest:
    """type: bind, volume or tmpfs. options: as in config.json."""

    __slots__ = ("options", "source", "target", "type")

    def __init__(self, type: str, source: str, target: str, options: list[str]) -> None:
        self.type = type
        self.source = source
        self.target = target
        self.options = options


class Device:
    """A network device. network: bridge or routed. ip: comma-separated, "" for the next free. mac: "" for one that is
    made of the addresses. interface: its name inside. rate: bits a second each way, 0: as it comes.
    """

    __slots__ = ("interface", "ip", "mac", "network", "rate")

    def __init__(self, network: str, interface: str, ip: str = "", mac: str = "", rate: int = 0) -> None:
        self.network = network
        self.interface = interface
        self.ip = ip
        self.mac = mac
        self.rate = rate

    def to_json(self) -> dict[str, str | int]:
        """As a record has it."""
        return {key: getattr(self, key) for key in self.__slots__}


class Request:
    """All of a ``run`` or ``create``. Sizes in bytes, times in seconds; None: not asked."""

    def __init__(self, image: str, command: list[str]) -> None:
        self.image = image
        self.command = command
        self.name = ""
        self.hostname = ""
        self.terminal = self.interactive = self.detach = self.auto_remove = self.init = self.read_only = False
        self.env: dict[str, str | None] = {}
        self.mounts: list[MountRequest] = []
        self.workdir = ""
        self.user = ""
        self.groups: list[str] = []
        self.entrypoint: str | None = None
        self.cap_add: list[str] = []
        self.cap_drop: list[str] = []
        self.seccomp = "default"
        #: As launch.supervise.parse has it.
        self.supervise: list[str] = []
        #: --userns; of the configuration file where it is empty.
        self.userns = ""
        #: --systemd: true, false, always.
        self.systemd = "true"
        #: Whether /etc/hostname, hosts and resolv.conf are the engine's; else the root has its own.
        self.network_files = True
        self.no_new_privileges = self.privileged = False
        self.apparmor = ""
        #: SELinux: PART:TEXT each.
        self.label_parts: list[str] = []
        self.mask: list[str] = []
        self.unmask: list[str] = []
        self.ulimits: list[tuple[str, int, int]] = []
        self.sysctls: dict[str, str] = {}
        self.devices: list[tuple[str, str, str]] = []
        self.network = "bridge"
        self.ports: list[str] = []
        #: Comma-separated.
        self.ip = ""
        #: The device's name inside; of a routed network: MAC address, bits a second each way (0: as it comes).
        self.mac = self.interface = ""
        self.rate = 0
        #: Further devices of the network.
        self.networks: list[Device] = []
        self.dns: list[str] = []
        self.dns_search: list[str] = []
        self.hosts: list[tuple[str, str]] = []
        self.limits = Limits()
        #: --storage-opt: bytes and inodes of its own files, 0: no limit of them; None: not asked.
        self.disk: tuple[int, int] | None = None
        self.oom_score_adj: int | None = None
        self.cgroup_parent = ""
        #: Of the configuration file where they are empty.
        self.cgroup_manager = self.missing_controllers = ""
        self.restart = "no"
        self.restart_max = 0
        self.labels: dict[str, str] = {}
        self.stop_signal: int | None = None
        self.stop_timeout = 10
        self.shm_size = 64 << 20
        self.host_namespaces: set[str] = set()
        self.log_size = 10 << 20
        self.log_files = 3
        self.detach_keys = b"\x10\x11"
        self.cidfile = ""
        #: The name of the tenant whose container it is.
        self.tenant = ""
