"""planner: stay, and make the plans of other commands, which then need not start an interpreter."""

from __future__ import annotations

from pycontain.cli.args import Flag, Options, Verb, integer, plain, seconds
from pycontain.kernel import rootless

PLANNER = Verb(
    "planner",
    "Make the plans of other commands, so that they start at once",
    (
        Flag(
            "--socket",
            "Where to listen (default: /run/pycontain-planner/socket, for a user who is not root"
            " XDG_RUNTIME_DIR/pycontain-planner/socket).",
            plain,
            "PATH",
        ),
        Flag("--workers", "How many processes are kept ready.", integer(1, 64), "NUMBER", default="2"),
        Flag(
            "--idle-timeout", "End when nobody has asked for so long; 0 for never.", seconds, "SECONDS", default="600"
        ),
    ),
    description="Stay in the foreground with everything loaded, and make the launch plans of run, create, exec and"
    " start, of pycontain and of pycontain-oci. They find it by its socket, and do without where it is not there."
    " Best started by systemd: contrib/systemd has the units.",
    epilog="""
pycontain planner --idle-timeout 0
""",
)

#: What a start imports; the rest of the package is found when it is needed.
_LOADED = """
cli.main cli.verbs.run cli.verbs.exec cli.verbs.start cli.values cli.security kernel.inherited
engine.run engine.execute engine.start engine.life engine.bridged engine.unbridged engine.userns engine.userroot
engine.volumes engine.confinement engine.ports engine.claim engine.repair engine.load engine.terminal engine.logfiles
oci.main oci.create oci.execute oci.starting oci.notify oci.listener
cgroup.write cgroup.limits cgroup.devices
network.bridge network.port network.lease network.veth network.ruleset network.routed network.routed_host
storage.idpool storage.lookup storage.tree image.store image.find
launch.compile launch.seccomp launch.seccomp_compile launch.profile launch.hooks launch.ops_all
""".split()


# --- what it does ------------------------------------------------------------------------------------------------


def main(options: Options) -> int:
    """Until nobody asks any more, or a signal ends it."""
    from pycontain.planner import server

    _load()
    listener = server.listen(options.text("socket") or default_socket())
    faces = {False: _command, True: _oci}
    workers, idle = options.number("workers"), options.number("idle-timeout")
    return server.Planner(listener, faces, _rehearse, workers, idle).run()


def default_socket() -> str:
    """Where src/helper/planner.c looks."""
    directory = rootless.run_directory() if rootless.user() >= 0 else "/run/pycontain"
    return f"{directory}-planner/socket"


def _load() -> None:
    for name in _LOADED:
        __import__(f"pycontain.{name}")


def _rehearse() -> None:
    from pycontain.cgroup.devices import default_program
    from pycontain.launch.plan import encode
    from pycontain.oci.create import plan_of
    from pycontain.oci.execute import own_namespaces
    from pycontain.oci.template import document

    default_program()
    own_namespaces()
    encode(plan_of(document(rootless=False), "/"))


def _command(argv: list[str]) -> int:
    from pycontain.cli.main import main as command
    from pycontain.kernel import inherited

    inherited.settle()
    return command(argv)


def _oci(argv: list[str]) -> int:
    from pycontain.oci.main import main as oci

    return oci(argv)
