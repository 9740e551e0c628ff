"""The flags of limits, which run, create and update have."""

from __future__ import annotations

from pycontain.cli import values
from pycontain.cli.args import Flag, integer
from pycontain.engine.limits import CPU_PERIOD, THROTTLES, Limits
from pycontain.kernel.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontain.cli.args import Options

GROUP = "Limits"

#: In the order in which --help lists them.
FLAGS = (
    Flag("-m, --memory", "Memory that it may use; -1 for no limit.", values.memory, "SIZE", group=GROUP),
    Flag(
        "--memory-swap",
        "Memory and swap together; -1 for unlimited swap (default: twice --memory).",
        values.memory,
        "SIZE",
        group=GROUP,
    ),
    Flag(
        "--memory-reservation",
        "Memory that is left to it when the host runs short; -1 for none.",
        values.memory,
        "SIZE",
        group=GROUP,
    ),
    Flag("--cpus", "How many CPUs' time it may use, such as 1.5; -1 for no limit.", values.cpus, "NUMBER", group=GROUP),
    Flag(
        "-c, --cpu-shares",
        "Weight against others when CPUs are busy, 2 to 262144; 1024 is the ordinary one.",
        integer(-1, 262144),
        "WEIGHT",
        group=GROUP,
    ),
    Flag(
        "--cpu-quota",
        "CPU time that it may use in a period, in microseconds; -1 for no limit.",
        values.cpu_quota,
        "MICROSECONDS",
        group=GROUP,
    ),
    Flag(
        "--cpu-period",
        "The period of --cpu-quota, in microseconds, 1000 to 1000000 (the kernel's own: 100000).",
        integer(1000, 1000000),
        "MICROSECONDS",
        group=GROUP,
    ),
    Flag("--cpuset-cpus", "The CPUs that it may use, such as 0-2,5.", values.number_list, "LIST", group=GROUP),
    Flag("--cpuset-mems", "The memory nodes that it may use, such as 0.", values.number_list, "LIST", group=GROUP),
    Flag("--pids-limit", "How many processes and threads; -1 for no limit.", values.pids_limit, "NUMBER", group=GROUP),
    Flag(
        "--blkio-weight",
        "Weight against others when disks are busy, 10 to 1000.",
        integer(10, 1000),
        "WEIGHT",
        group=GROUP,
    ),
    Flag(
        "--device-read-bps",
        "Bytes a second read from a disk, such as /dev/sda:10m; 0 for no limit.",
        values.device_bps,
        "DEVICE:SIZE",
        repeat=True,
        group=GROUP,
    ),
    Flag(
        "--device-write-bps",
        "Bytes a second written to a disk; 0 for no limit.",
        values.device_bps,
        "DEVICE:SIZE",
        repeat=True,
        group=GROUP,
    ),
    Flag(
        "--device-read-iops",
        "Read operations a second on a disk, such as /dev/sda:500; 0 for no limit.",
        values.device_iops,
        "DEVICE:NUMBER",
        repeat=True,
        group=GROUP,
    ),
    Flag(
        "--device-write-iops",
        "Write operations a second on a disk; 0 for no limit.",
        values.device_iops,
        "DEVICE:NUMBER",
        repeat=True,
        group=GROUP,
    ),
)


def check(options: Options) -> None:
    """Refuse flags that cannot be together. Raises UsageError."""
    for key in ("cpu-quota", "cpu-period"):
        if options.has("cpus") and options.has(key):
            raise UsageError(f"--cpus and --{key} cannot be together: --cpus sets both quota and period")


def read(options: Options) -> Limits:
    """What the flags ask for."""

    def given(key: str) -> int | None:
        return options.number(key) if options.has(key) else None

    limits = Limits()
    limits.memory, limits.memory_swap = given("memory"), given("memory-swap")
    limits.memory_reservation = given("memory-reservation")
    limits.cpu_quota, limits.cpu_period, limits.cpu_shares = (
        given("cpu-quota"),
        given("cpu-period"),
        given("cpu-shares"),
    )
    if options.has("cpus"):
        limits.cpu_quota, limits.cpu_period = given("cpus"), CPU_PERIOD
    limits.cpuset_cpus = options.text("cpuset-cpus") or None
    limits.cpuset_mems = options.text("cpuset-mems") or None
    limits.pids, limits.blkio_weight = given("pids-limit"), given("blkio-weight")
    for key, member in THROTTLES.items():
        limits.throttles[member] = [(item.path, item.rate) for item in options.all(key, values.Rate)]
    return limits
