"""Readers of structured values: what they take, and that what they refuse is refused in one clear line."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontain.cli import args, security, values, verbs
from pycontain.cli.values import Device, Mount, Pair, Rate, Restart, Ulimit, Variable
from pycontain.cli.verbs import cp, inspect, logs, ps
from pycontain.kernel.errors import UsageError

INFINITY = (1 << 64) - 1

GOOD: list[tuple[Callable[[str], Any], str, Any]] = [
    (values.name, "web", "web"),
    (values.name, "0.a_b-C", "0.a_b-C"),
    (values.hostname, "web-1.example.org", "web-1.example.org"),
    (values.hostname, "a" * 63, "a" * 63),
    (values.search_domain, ".", "."),
    (values.search_domain, "example.org.", "example.org."),
    (values.absolute, "/srv/a b", "/srv/a b"),
    (values.variable, "A=b=c", Variable("A", "b=c")),
    (values.variable, "A=", Variable("A", "")),
    (values.variable, "A=two\nlines", Variable("A", "two\nlines")),
    (values.label, "a.b/c=d e", Pair("a.b/c", "d e")),
    (values.label, "a", Pair("a", "")),
    (values.volume, "/a:/b", Mount("bind", "/a", "/b", ["rbind", "rprivate"])),
    (values.volume, "/a:/b:ro", Mount("bind", "/a", "/b", ["rbind", "ro", "rprivate"])),
    (values.volume, "/a:/b:ro,Z", Mount("bind", "/a", "/b", ["rbind", "ro", "rprivate"])),
    (values.volume, "/a:/b:z", Mount("bind", "/a", "/b", ["rbind", "rprivate"])),
    (values.volume, "/a:/b:bind,rslave,noexec", Mount("bind", "/a", "/b", ["bind", "rslave", "noexec"])),
    (values.volume, "/a:/b/../c//d/", Mount("bind", "/a", "/c/d", ["rbind", "rprivate"])),
    (values.volume, "/a:/../../x", Mount("bind", "/a", "/x", ["rbind", "rprivate"])),
    (values.volume, "/a:///x", Mount("bind", "/a", "/x", ["rbind", "rprivate"])),
    (values.volume, "data:/var/lib:nosuid", Mount("volume", "data", "/var/lib", ["nosuid"])),
    (values.mount, "type=bind,src=/a,dst=/b", Mount("bind", "/a", "/b", ["rbind", "rprivate"])),
    (
        values.mount,
        "type=bind,source=/a:b,target=/b,readonly",
        Mount("bind", "/a:b", "/b", ["rbind", "ro", "rprivate"]),
    ),
    (values.mount, "type=bind,src=/a,dst=/b,ro=false", Mount("bind", "/a", "/b", ["rbind", "rprivate"])),
    (
        values.mount,
        "type=bind,src=/a,dst=/b,bind-propagation=shared,ro=true",
        Mount("bind", "/a", "/b", ["rbind", "ro", "shared"]),
    ),
    (values.mount, "type=tmpfs,dst=/t", Mount("tmpfs", "tmpfs", "/t", ["nosuid", "nodev", "noexec"])),
    (
        values.mount,
        "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777",
        Mount("tmpfs", "tmpfs", "/t", ["nosuid", "nodev", "noexec", "size=1048576", "mode=1777"]),
    ),
    (values.tmpfs, "/t", Mount("tmpfs", "tmpfs", "/t", ["nosuid", "nodev", "noexec"])),
    (
        values.tmpfs,
        "/t:exec,size=64m,mode=700,uid=5",
        Mount("tmpfs", "tmpfs", "/t", ["nosuid", "nodev", "exec", "size=67108864", "mode=700", "uid=5"]),
    ),
    (values.tmpfs, "/t:size=50%", Mount("tmpfs", "tmpfs", "/t", ["nosuid", "nodev", "noexec", "size=50%"])),
    (values.device, "/dev/fuse", Device("/dev/fuse", "/dev/fuse", "rwm")),
    (values.device, "/dev/sda:r", Device("/dev/sda", "/dev/sda", "r")),
    (values.device, "/dev/sda:/dev/disk", Device("/dev/sda", "/dev/disk", "rwm")),
    (values.device, "/dev/sda:/dev/disk:rm", Device("/dev/sda", "/dev/disk", "rm")),
    (values.ulimit, "nofile=1024", Ulimit("RLIMIT_NOFILE", 1024, 1024)),
    (values.ulimit, "nofile=1024:2048", Ulimit("RLIMIT_NOFILE", 1024, 2048)),
    (values.ulimit, "memlock=-1", Ulimit("RLIMIT_MEMLOCK", INFINITY, INFINITY)),
    (values.ulimit, "core=0:unlimited", Ulimit("RLIMIT_CORE", 0, INFINITY)),
    (values.cpus, "1.5", 150_000),
    (values.cpus, "0.01", 1000),
    (values.cpus, "2", 200_000),
    (values.cpus, "0", 0),
    (values.cpus, "-1", 0),
    (values.cpu_quota, "1000", 1000),
    (values.cpu_quota, "-1", 0),
    (values.number_list, "0-2,5", "0-2,5"),
    (values.device_bps, "/dev/sda:10m", Rate("/dev/sda", 10 << 20)),
    (values.device_bps, "/dev/sda:-1", Rate("/dev/sda", 0)),
    (values.device_iops, "/dev/disk/by-id/a:b:7", Rate("/dev/disk/by-id/a:b", 7)),
    (values.memory, "-1", -1),
    (values.memory, "1k", 1024),
    (values.pids_limit, "100", 100),
    (values.pids_limit, "-1", -1),
    (values.pids_limit, "0", -1),
    (values.sysctl, "net.core.somaxconn=1024", Pair("net.core.somaxconn", "1024")),
    (values.sysctl, "net/ipv4/ip_local_port_range=1024 65535", Pair("net/ipv4/ip_local_port_range", "1024 65535")),
    (values.sysctl, "net.ipv4.tcp_rmem=4096\t131072\t6291456", Pair("net.ipv4.tcp_rmem", "4096\t131072\t6291456")),
    (values.restart, "no", Restart("no")),
    (values.restart, "on-failure", Restart("on-failure")),
    (values.restart, "on-failure:5", Restart("on-failure", 5)),
    (values.restart, "unless-stopped", Restart("unless-stopped")),
    (values.signal, "TERM", signal.SIGTERM),
    (values.signal, "sighup", signal.SIGHUP),
    (values.signal, "9", 9),
    (values.signal, "RTMIN", signal.SIGRTMIN),
    (values.signal, "SIGRTMIN+3", signal.SIGRTMIN + 3),
    (values.signal, "RTMAX-1", signal.SIGRTMAX - 1),
    (values.network, "default", "bridge"),
    (values.network, "container:web", "container:web"),
    (values.ipv4, "10.0.0.1", "10.0.0.1"),
    (values.address, "fd00::1", "fd00::1"),
    (values.add_host, "db:10.0.0.1", Pair("db", "10.0.0.1")),
    (values.add_host, "db=10.0.0.1", Pair("db", "10.0.0.1")),
    (values.add_host, "db:fd00::1", Pair("db", "fd00::1")),
    (values.add_host, "db:[fd00::1]", Pair("db", "fd00::1")),
    (values.add_host, "host.internal:host-gateway", Pair("host.internal", "host-gateway")),
    (values.capability, "net_admin", "CAP_NET_ADMIN"),
    (values.capability, "CAP_SYS_PTRACE", "CAP_SYS_PTRACE"),
    (values.capability, "all", "ALL"),
    (security.option, "seccomp=unconfined", Pair("seccomp", "unconfined")),
    (security.option, "seccomp:/p/a=b.json", Pair("seccomp", "/p/a=b.json")),
    (security.option, "no-new-privileges", Pair("no-new-privileges", "true")),
    (security.option, "no-new-privileges:false", Pair("no-new-privileges", "false")),
    (security.option, "apparmor=docker-default", Pair("apparmor", "docker-default")),
    (security.option, "label=type:container_t", Pair("label", "type:container_t")),
    (security.option, "label:level:s0:c1,c2", Pair("label", "level:s0:c1,c2")),
    (security.option, "label=disable", Pair("label", "disable")),
    (security.option, "mask=/proc/a:/sys/b", Pair("mask", "/proc/a:/sys/b")),
    (security.option, "unmask=all", Pair("unmask", "all")),
    (security.option, "systempaths=unconfined", Pair("systempaths", "unconfined")),
    (values.detach_keys, "ctrl-p,ctrl-q", b"\x10\x11"),
    (values.detach_keys, "a,ctrl-@,ctrl-\\,ctrl-],ctrl-^,ctrl-_,ctrl-[", b"a\0\x1c\x1d\x1e\x1f\x1b"),
    (values.detach_keys, "", b""),
    (ps.filter, "label=a=b", Pair("label", "a=b")),
    (ps.filter, "status=running", Pair("status", "running")),
    (logs.tail, "all", -1),
    (logs.tail, "0", 0),
    (cp.place, "web:/etc", cp.Place("web", "/etc")),
    (cp.place, "web:etc:x", cp.Place("web", "etc:x")),
    (cp.place, "./web:x", cp.Place("", "./web:x")),
    (cp.place, "/a:b", cp.Place("", "/a:b")),
    (cp.place, "-", cp.Place("", "-")),
    (inspect.format, "json", "json"),
]

BAD: list[tuple[Callable[[str], Any], list[str]]] = [
    (values.name, [
        "", "-a", ".a", "a b", "a/b", "ä", "a\n", "a" * 129, "a\0b",
    ]),
    (values.hostname, [
        "", "-a", "a-", "a..b", ".a", "a.", "a_b", "a b", "a\n", "a" * 64, ("a" * 30 + ".") * 3, "ä",
    ]),
    (values.search_domain, [
        "", "..", "a b", "-x",
    ]),
    (values.absolute, [
        "", "srv", "./a", "/a\nb", "/a\x7f",
    ]),
    (values.variable, [
        "", "=x", "A\n=b", "A\x1b=b", "A\x9b=b",
    ]),
    (values.label, [
        "", "=x", "a\n=b", "a=b\nc", "a=\x1b[31m",
    ]),
    (values.volume, [
        "", "/a", "/a:/b:ro:x", "/a:b", "a b:/c", "../a:/b", "/a:/", "/a://", "/a:/b/..", "/a:/b:rx", "/a:/b:",
        "/a:/b:ro,rw", "/a:/b:rslave,shared", "/a:/b:nosuid,suid", ":/b", "/a\n:/b", "/a:/b\n", "-x:/b",
    ]),
    (values.mount, [
        "", "type=bind", "type=volume,src=a,dst=/b", "src=/a,dst=/b", "type=bind,src=/a", "type=bind,src=a,dst=/b",
        "type=bind,src=/a,dst=b", "type=bind,src=/a,dst=/b,foo=1", "type=bind,src=/a,dst=/b,dst=/c",
        "type=bind,src=/a,source=/b,dst=/c", "type=tmpfs,dst=/b,src=/a", "type=bind,src=/a,dst=/b,tmpfs-size=1",
        "type=bind,src=/a,dst=/b,bind-propagation=x", "type=bind,src=/a,dst=/b,ro=maybe", "type=bind,src=,dst=/b",
        "type=tmpfs,dst=/b,tmpfs-size=x", "type=tmpfs,dst=/b,tmpfs-mode=999", "type=bind,src=/a,dst=/",
        "type=x,dst=/b", "type=bind,src=/a\n,dst=/b",
    ]),
    (values.tmpfs, [
        "", "t", "/", "/t:size=x", "/t:mode=9", "/t:foo", "/t:uid=x", "/t:uid=4294967295", "/t:ro,rw", "/t:size",
        "/t:,",
    ]),
    (values.device, [
        "", "dev", "/dev/a:x", "/dev/a:", "/dev/a:/b:rr", "/dev/a:/b:", "/dev/a:b:rw", "/dev/a:/b:r:w", "/",
    ]),
    (values.ulimit, [
        "", "nofile", "nofile=", "nofile=x", "nofile=2:1", "nofile=-2", "foo=1", "NOFILE=1", "nofile=1:2:3", "=1",
        "nofile=unlimited:5", f"nofile={1 << 64}",
    ]),
    (values.cpu_quota, ["", "999", "-2", "1.5", "x"]),
    (values.number_list, ["", "a", "1-", "-1", "3-1", "1,,2", "0-9999999999999999999999", "99999999"]),
    (values.device_bps, ["", "/dev/sda", "sda:1m", "/dev/sda:", "/dev/sda:x", "/dev/s\na:1"]),
    (values.device_iops, ["/dev/sda:1m", "/dev/sda:-5", ":5"]),
    (values.cpus, [
        "", "x", "-2", "0.001", "1e3", "inf", "nan", "1.", "1_0", "100001", "+1",
    ]),
    (values.memory, [
        "", "-2", "x",
    ]),
    (values.pids_limit, [
        "", "-2", "x", str(1 << 23),
    ]),
    (values.sysctl, [
        "", "a", "=1", "a b=1", "../x=1", "net..x=1", "/etc=1", "net.x=1\n", "net.x=\x00", "net//x=1", ".x=1",
    ]),
    (values.restart, [
        "", "always:3", "on-failure:", "on-failure:x", "on-failure:-1", "never", "no:1", "ALWAYS",
    ]),
    (values.signal, [
        "", "0", "65", "-9", "FOO", "SIG", "_DFL", "SIG_IGN", "_SETMASK", "RTMIN-1", "RTMIN+31", "RTMAX+1",
        "RTMAX-31", "RTMIN+", "TERM+1", "KILL-1", "HUP ", "9.0", "1_0",
    ]),
    (values.network, [
        "", "foo", "container:", "container", "ns:/x", "container:a\nb", "Host",
    ]),
    (values.ipv4, [
        "", "fd00::1", "1.2.3", "1.2.3.256", "1.2.3.4/8", "1.2.3.4 ", "a\0",
    ]),
    (values.address, [
        "", "x", "fe80::1%eth0", "[::1]", "1.2.3.4:5",
    ]),
    (values.add_host, [
        "", "db", "db:", ":1.2.3.4", "=1.2.3.4", "a b:1.2.3.4", "db:x", "db:1.2.3.4:5", "a\n:1.2.3.4", "db:gateway",
    ]),
    (values.capability, [
        "", "FOO", "CAP_", "CAP_CAP_KILL", "NET ADMIN", "ALL ",
    ]),
    (security.option, [
        "", "seccomp", "seccomp=", "apparmor", "no-new-privileges=maybe", "no-new-privileges=", "label=x",
        "label=type:", "label=kind:a", "seccomp=a\nb", "mask=proc", "mask=", "mask=/a:b", "unmask=/a/../b",
        "unmask=some", "systempaths=all", "proc-opts=hidepid=2", "systempaths",
    ]),
    (values.detach_keys, [
        ",", "a,", "ctrl-", "ctrl-1", "ctrl-P", "ctrl-ab", "ab", "é", "\n", "ctrl- ",
    ]),
    (ps.filter, [
        "", "name", "name=", "foo=1", "status=runing",
    ]),
    (logs.tail, [
        "", "x", "-1", "1.5", "ALL",
    ]),
    (cp.place, [
        "", ":", "web:", ":/etc",
    ]),
    (inspect.format, [
        "", "{{.Id}}", "yaml",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("read", "word", "value"), GOOD, ids=lambda part: getattr(part, "__name__", None))
def test_good(read: Callable[[str], Any], word: str, value: Any) -> None:
    assert read(word) == value


@pytest.mark.parametrize(
    ("read", "word"),
    [(read, word) for read, words in BAD for word in words],
    ids=lambda part: getattr(part, "__name__", None),
)
def test_bad(read: Callable[[str], Any], word: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(word)
    message = caught.value.message
    assert message.isprintable(), "one line, and nothing that moves the cursor"
    assert not message.endswith(".")


READERS = sorted({read for read, _, _ in GOOD} | {read for read, _ in BAD}, key=lambda read: read.__name__)


@given(st.sampled_from(READERS), st.text() | st.text("abc019/:,=.-_+[]% ctrlpsizemode", max_size=40))
def test_any_text_is_a_value_or_a_usage_error(read: Callable[[str], Any], word: str) -> None:
    try:
        read(word)
    except UsageError:
        pass


@given(st.text("/.ab", min_size=1))
def test_a_target_is_clean_and_below_the_root(word: str) -> None:
    try:
        path = values.target("/" + word)
    except UsageError:
        return
    assert path[0] == "/" and path != "/"
    assert not {"", ".", ".."} & set(path[1:].split("/"))


@given(st.integers(1, 64))
def test_every_signal_number_and_name(number: int) -> None:
    assert values.signal(str(number)) == number
    if number in {int(one) for one in signal.Signals}:
        assert values.signal(signal.Signals(number).name) == number


def test_every_ulimit_of_this_python() -> None:
    for name in dir(resource):
        if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE":
            assert values.ulimit(f"{name.removeprefix('RLIMIT_').lower()}=1").type == name


def test_a_variable_without_value_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONTAIN_TEST", "here")
    monkeypatch.delenv("PYCONTAIN_NONE", raising=False)
    assert values.variable("PYCONTAIN_TEST") == Variable("PYCONTAIN_TEST", "here")
    assert values.variable("PYCONTAIN_NONE") == Variable("PYCONTAIN_NONE", None)


def test_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONTAIN_TEST", "here")
    monkeypatch.delenv("PYCONTAIN_NONE", raising=False)
    path = tmp_path / "env"
    path.write_bytes(
        b"\xef\xbb\xbfA=1\r\n\n  # comment\n\tB=' quoted # kept ' \nC=\nPYCONTAIN_TEST\nPYCONTAIN_NONE\n"
        b"D=\xc3\xa4=\xc3\xa4"
    )
    assert values.env_file(str(path)) == [
        Variable("A", "1"),
        Variable("B", "' quoted # kept ' "),
        Variable("C", ""),
        Variable("PYCONTAIN_TEST", "here"),
        Variable("D", "ä=ä"),
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"=x\n", ["line 1"]),
        (b"A=1\nB C=2\n", ["line 2", "white space"]),
        (b"\xff=1\n", ["UTF-8", "byte 0"]),
        (b"A=\0\n", ["NUL"]),
        (b"#" * (values.ENV_FILE_MAX + 1), ["File too large"]),
    ],
)
def test_bad_env_file(tmp_path: Path, content: bytes, words: list[str]) -> None:
    path = tmp_path / "env"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        values.env_file(str(path))
    for word in [*words, str(path)]:
        assert word in caught.value.message


@pytest.mark.parametrize("path", ["/nonexistent/env", "/", "", "a\0b"])
def test_env_file_that_cannot_be_read(path: str) -> None:
    with pytest.raises(UsageError):
        values.env_file(path)


def test_env_wins_over_env_file(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("A=file\nB=file\n")
    argv = ["-e", "A=flag", "--env-file", str(path), "-e", "PYCONTAIN_NONE", "-e", "C=1", "-e", "C=2", "busybox"]
    options = args.parse(verbs.load("run"), argv)
    assert values.environment(options) == {"A": "flag", "B": "file", "PYCONTAIN_NONE": None, "C": "2"}


def refusal(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        args.parse(verbs.load("run"), [*argv, "busybox"])
    return caught.value.message


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--rm", "--restart", "always"], ["--rm", "--restart always"]),
        (["--memory-swap", "1g"], ["--memory-swap", "--memory"]),
        (["-m", "2g", "--memory-swap", "1g"], ["smaller"]),
        (["-p", "80", "--network", "host"], ["--publish", "--network host"]),
        (["-p", "80", "--network", "none"], ["--publish", "--network none"]),
        (["--ip", "10.0.0.1", "--network", "none"], ["--ip"]),
        (["--dns", "10.0.0.1", "--network", "container:a"], ["--dns", "container:a"]),
        (["-h", "x", "--network", "container:a"], ["--hostname"]),
        (["-h", "x", "--uts", "host"], ["--hostname", "--uts host"]),
    ],
)
def test_flags_that_cannot_be_together(argv: list[str], words: list[str]) -> None:
    message = refusal(*argv)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "argv",
    [
        ["--rm", "--restart", "no"],
        ["--memory-swap", "-1"],
        ["-m", "1g", "--memory-swap", "1g"],
        ["-p", "80", "--network", "bridge", "--ip", "10.222.0.9"],
        ["--dns", "10.0.0.1", "--network", "none"],
    ],
)
def test_flags_that_can_be_together(argv: list[str]) -> None:
    args.parse(verbs.load("run"), [*argv, "busybox"])


def test_rm_wants_containers_or_all() -> None:
    for argv in ([], ["-a", "web"]):
        with pytest.raises(UsageError):
            args.parse(verbs.load("rm"), argv)
    assert args.parse(verbs.load("rm"), ["-fa"]).flag("force")


def test_start_attaches_to_one() -> None:
    with pytest.raises(UsageError):
        args.parse(verbs.load("start"), ["-a", "web", "db"])
    assert args.parse(verbs.load("start"), ["web", "db"]).many("containers") == ["web", "db"]


def test_every_flag_of_run_names_itself_in_its_errors() -> None:
    for flag in verbs.load("run").flags:
        try:
            flag.convert("\0")
        except UsageError as error:
            assert error.message.startswith(f"{flag.title}: ")
