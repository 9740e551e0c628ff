"""Paths below a guest's root are hostile (docs/design.md): who sees them works with descriptors.

Python: in the rooms that see such paths every call that takes a path takes a directory's descriptor with it, and does
not follow links. C: every call by path stands in a list with its reason, every descriptor is born close-on-exec, and
paths of the root are resolved with openat2(2) inside it.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PACKAGE = SOURCE / "pycontain"

#: Those who see paths of a guest's root, or of an image's layer.
ROOTFS = [
    *sorted((PACKAGE / "launch").glob("*.py")),
    PACKAGE / "storage" / "lookup.py",
    PACKAGE / "storage" / "tree.py",
    PACKAGE / "storage" / "treecopy.py",
    PACKAGE / "engine" / "copy.py",
    PACKAGE / "engine" / "holder.py",
    PACKAGE / "engine" / "archive.py",
    PACKAGE / "engine" / "transfer.py",
    *sorted((PACKAGE / "tenant" / "setup").glob("*.py")),
]

#: They work by path, whatever they are given.
FORBIDDEN_MODULES = {"shutil", "pathlib", "glob", "tempfile", "fileinput", "zipfile"}
FORBIDDEN = {"makedirs", "removedirs", "renames", "walk", "lchown", "lchmod", "chdir", "chroot", "system", "popen"}
#: They take dir_fd. rename, replace and link take two.
AT = {
    "open", "stat", "lstat", "mkdir", "mknod", "mkfifo", "unlink", "remove", "rmdir", "symlink", "readlink", "access",
    "chown", "chmod", "utime",
}  # fmt: skip
AT_TWO = {"rename", "replace", "link"}
#: They take a path or a descriptor: only a descriptor.
EITHER = {"listdir", "scandir", "chmod", "chown", "utime", "truncate", "getxattr", "setxattr", "listxattr", "statvfs"}

#: (file, function): why a path of it is none of a guest's.
ALLOWED = {
    ("launch/mounts.py", "_host_link"): "the source of a bind, which the spec names on the host",
    ("launch/namespaces.py", "open_namespace"): "the namespace file that the spec names on the host",
    ("launch/reach.py", "hidden"): "the source of a bind, which the spec names on the host",
    ("launch/rootfs.py", "_check_hosts_node"): "the host's device, before any root is there",
    ("launch/seccomp.py", "read_entry"): "our cache",
    ("launch/seccomp.py", "_make_room"): "our cache",
    ("launch/start.py", "helper_fd"): "the helper that was installed",
    ("storage/lookup.py", "find_in"): "the layer's own directory, and /proc/PID/root",
    ("storage/tree.py", "__init__"): "the tree's own directory",
    ("storage/tree.py", "copy"): "the host's file that a recipe names",
    ("storage/tree.py", "_copy_file"): "the host's file that a recipe names",
    ("storage/tree.py", "measure"): "the tree's own directory",
    ("storage/tree.py", "remove_tree"): "the directory of ours that the tree is in",
    ("engine/holder.py", "running_root"): "/proc/PID/root",
    ("engine/holder.py", "root"): "/proc/PID/root of a process of ours, and the store's directory below it",
    ("engine/copy.py", "_host_spot"): "the path of the host that the user gave",
}

#: What gives descriptors, by the last part of its name.
OPENERS = {
    "open",
    "openat2",
    "dup",
    "fileno",
    "new_file",
    "_directory",
    "_open",
    "_open_to_empty",
    "make_directory",
    "directory",
}


def calls(function: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(function) if isinstance(node, ast.Call))


def last_part(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def descriptors(function: ast.FunctionDef) -> set[str]:
    """Names in a function that are descriptors: annotated as int, or given by what opens."""
    arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    found = {arg.arg for arg in arguments if arg.annotation is not None and ast.unparse(arg.annotation) == "int"}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and last_part(node.value.func) in OPENERS:
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def is_descriptor(node: ast.expr, known: set[str]) -> bool:
    if isinstance(node, ast.Call):
        return last_part(node.func) in OPENERS
    if isinstance(node, ast.JoinedStr):
        return ast.unparse(node).startswith(("f'/proc/self/fd/{", 'f"/proc/self/fd/{'))
    return isinstance(node, ast.Name) and node.id in known


def bits(node: ast.expr, names: dict[str, int]) -> int:
    """The flags that an expression certainly has."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return bits(node.left, names) | bits(node.right, names)
    if isinstance(node, ast.Attribute):
        return int(getattr(os, node.attr, 0))
    return names.get(node.id, 0) if isinstance(node, ast.Name) else 0


def problem(call: ast.Call, known: set[str], names: dict[str, int]) -> str:
    """What is wrong with one call, "" for nothing."""
    name = ast.unparse(call.func)
    keywords = {keyword.arg for keyword in call.keywords}
    if name == "open":
        return "" if is_descriptor(call.args[0], known) else "open() by path"
    if not name.startswith("os."):
        return ""
    name = name.removeprefix("os.")
    if name in FORBIDDEN:
        return f"os.{name} works by path"
    if name in AT_TWO:
        return "" if keywords >= {"src_dir_fd", "dst_dir_fd"} else f"os.{name} without src_dir_fd and dst_dir_fd"
    if name in EITHER and is_descriptor(call.args[0], known):
        return ""
    if name in EITHER - AT:
        return f"os.{name} by path"
    if name not in AT:
        return ""
    if is_descriptor(call.args[0], known):
        return ""  # the magic link of a descriptor: what it names is what was opened
    if "dir_fd" not in keywords:
        return f"os.{name} without dir_fd"
    return "" if follows_nothing(name, call, names) else f"os.{name} follows a link"


def follows_nothing(name: str, call: ast.Call, names: dict[str, int]) -> bool:
    if isinstance(call.args[0], ast.Constant) and call.args[0].value in (".", ""):
        return True
    if name == "open":
        return bool(bits(call.args[1], names) & os.O_NOFOLLOW)
    if name in ("stat", "chown", "chmod", "utime", "access"):
        return any(keyword.arg == "follow_symlinks" for keyword in call.keywords)
    return True  # the others never follow the last component


def violations(tree: ast.Module, file: str, names: dict[str, int]) -> list[str]:
    found = []
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"{file}:{node.lineno}: imports {module}" for module in modules if module in FORBIDDEN_MODULES]  # type: ignore[attr-defined]
        if isinstance(node, ast.FunctionDef) and (file, node.name) not in ALLOWED:
            known = descriptors(node)
            found += [f"{file}:{call.lineno}: {text}" for call in calls(node) if (text := problem(call, known, names))]
    return found


def constants(path: Path) -> dict[str, int]:
    module = importlib.import_module("pycontain." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    return {name: value for name, value in vars(module).items() if type(value) is int}


@pytest.mark.parametrize("path", ROOTFS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_paths_below_a_root_are_reached_by_descriptors(path: Path) -> None:
    file = str(path.relative_to(PACKAGE))
    assert violations(ast.parse(path.read_text()), file, constants(path)) == []


def test_every_exception_is_still_one() -> None:
    """A list of reasons for what is not there any more would hide what comes next."""
    for file, name in ALLOWED:
        tree = ast.parse((PACKAGE / file).read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
        names = constants(PACKAGE / file)
        used = [call for node in functions for call in calls(node) if problem(call, descriptors(node), names)]
        assert used, f"{file}: {name} needs no exception"


@pytest.mark.parametrize(
    "body",
    [
        "open(path)",
        "os.open(path, os.O_RDONLY)",
        "os.open(name, os.O_RDONLY, dir_fd=fd)",
        "os.mkdir(path)",
        "os.makedirs(path)",
        "os.listdir(path)",
        "os.stat(name, dir_fd=fd)",
        "os.rename(a, b)",
        "os.rename(a, b, src_dir_fd=fd)",
        "os.unlink(path)",
        "os.chmod(path, 0)",
        "os.getxattr(path, 'a')",
        "import shutil",
        "from pathlib import Path",
    ],
)
def test_what_is_by_path_is_found(body: str) -> None:
    """The rule itself."""
    assert len(violations(ast.parse(f"def f(fd: int, path: str):\n    {body}"), "x.py", {})) == 1


@pytest.mark.parametrize(
    "body",
    [
        "os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)",
        "os.open('.', os.O_RDONLY, dir_fd=fd)",
        "os.mkdir(name, 0, dir_fd=fd)",
        "os.listdir(fd)",
        "os.stat(name, dir_fd=fd, follow_symlinks=False)",
        "os.rename(a, b, src_dir_fd=fd, dst_dir_fd=fd)",
        "os.getxattr(f'/proc/self/fd/{fd}', 'a')",
        "new = os.open('.', 0, dir_fd=fd); os.utime(new)",
    ],
)
def test_what_is_by_descriptor_is_not(body: str) -> None:
    assert violations(ast.parse(f"def f(fd: int, name: str):\n    {body}"), "x.py", {}) == []


# --- C ------------------------------------------------------------------------------------------------------------

C_FILES = sorted((SOURCE / "helper").glob("*.c"))

#: Calls that take a path and no descriptor.
BY_PATH = (
    "open|creat|fopen|opendir|mkdir|mknod|mkfifo|symlink|link|unlink|remove|rmdir|rename|chmod|chown|lchown|truncate|"
    "stat|lstat|access|readlink|mount|umount|umount2|chdir|chroot|execv|execve|execvp|execl|execlp|popen|system|"
    "sys_pivot_root|utimes|utime|realpath|nftw|ftw"
)

#: file: {the beginning of the call: why the path is not one of a guest's, or why it may be}.
ALLOWED_C = {
    "caller.c": {
        'open("/proc/self"': "before the mount namespace changes",
        "open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)": "/proc/PID of the host's",
        'chroot("."': "of the caller's own root, by its descriptor",
    },
    "ending.c": {
        "open(path": "directories of ours that records of the plan name, for Landlock",
    },
    "confine.c": {
        'open("/proc/self/ns/pid"': "of the host's side, before it joins another",
        'open("/proc/self/ns/time_for_children"': "before the mount namespace changes",
        "chdir(op_s(op, CWD_PATH)": "inside the root, as the guest sees it; getcwd(2) proves it",
    },
    "overlay.c": {
        'mount(NULL, "."': "the root of a mount namespace of its own, by its descriptor",
        'chroot("."': "a file system of its own, by its descriptor",
    },
    "newmount.c": {
        "umount2(slash + 1": "a name in a directory that was opened; what is mounted there was checked",
    },
    "supervise.c": {
        'open("/dev/null"': "before anything of the guest's is looked at",
        'chdir("/")': "the host's, as every process of ours that stays",
        "stat(path": "/proc/PID/ns",
        "open(directory": "the run directory",
    },
    "find.c": {
        "access(path": "the package beside our own program",
        "access(python": "the interpreter beside our own program",
        "opendir(lib": "the package beside our own program",
        'readlink("/proc/self/exe"': "our own program",
        "execv(python": "the interpreter beside our own program",
    },
    "front.c": {"open(parent": "the run directory"},
    "guest.c": {
        'open("/"': "exec: the root of the process, after it has joined the namespaces",
        "stat(path": "inside the root, as the user that will execute it",
        "execve(run->program": "inside the root",
    },
    "hook.c": {
        "chdir(op_s(op, HOOK_CWD)": "the bundle; after the pivot the root",
        "execve(op_s(op, HOOK_PATH)": "the spec's; after the pivot inside the root, with what the program may",
    },
    "host.c": {
        "open(path, O_RDONLY | O_CLOEXEC)": "/proc/PID/ns/net",
        "chmod(temporary": "the run directory",
        "rename(temporary": "the run directory",
        "unlink(temporary": "the run directory",
        "unlink(op_s(op, UNLINK_PATH)": "files of ours",
        "open(op_s(op, UNLEASE_GIVEN_DIRECTORY)": "leases of ours",
        "unlink(path)": "the run directory",
        "rmdir(op_s(op, RMDIR_PATH)": "directories of ours",
        "execv(argv[0]": "the interpreter",
    },
    "cgroup.c": {
        "open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)": "the container's cgroup",
        "rmdir(path)": "the container's cgroup",
    },
    "rootless.c": {
        "mkdir(path": "the user's run directory",
        "open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)": "the user's run directory",
        "open(path, O_RDONLY | O_CLOEXEC)": "/proc/PID/ns/user",
        "open(argv[2]": "the user's run directory",
        'open("/dev/null"': "the host's",
        "stat(base": "the user's run directory",
        'stat("/proc/self/ns/user"': "our own namespace",
        'chdir("/")': "the pause process leaves the caller's directory",
        'execve("/proc/self/exe"': "our own program",
    },
    "subid.c": {
        "fopen(path": "/etc/subuid and /etc/subgid",
        "execvp(argv[0]": "newuidmap and newgidmap, by the caller's path and with the caller's rights",
    },
    "companion.c": {
        'open("/dev/null"': "the host's",
        "execve(argv[0]": "the program that Python has found",
    },
    "fuseroot.c": {
        'mount(NULL, "/"': "the monitor's own mount namespace",
        'mount("overlay", "root"': "a directory of ours, which we are in",
        'open("/proc/self/mountinfo"': "the kernel's",
        "mkdir(path": "the store",
        "open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)": "the store",
        "umount2(": "where we have mounted it",
    },
    "nethelper.c": {
        "open(target": "in a file system of ours",
        'mount(NULL, "/"': "the program's own mount namespace",
        'mount("tmpfs", place': "the program's own mount namespace",
        "mount(source, target": "the program's own mount namespace",
        "unlink(op_s(op, NET_HELPER_SOCKET)": "the run directory",
    },
    "oci.c": {
        'stat("/proc/self/ns/user"': "our own namespace",
        "open(container->cgroup, O_PATH": "the container's cgroup",
        "open(container->path, O_PATH": "the state directory",
    },
    "idmap.c": {"open(path, O_RDONLY | O_CLOEXEC)": "/proc/PID/ns/user"},
    "launch.c": {
        'open("/dev/null"': "the host's",
        'chdir("/")': "the monitor leaves the caller's directory, and the store's",
        "chdir(directory)": "where a root of ours is to be mounted, in a store that only root enters",
        "open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)": "the run directory",
    },
    "planner.c": {
        "lstat(slash == dir": "the planner's directory, which is the user's alone",
        'opendir("/proc/self/fd")': "our own descriptors",
        'open("."': "the caller's directory, before any container is",
    },
    "monitor.c": {
        "open(op_s(op, MONITOR_DIRECTORY)": "the container's directory",
        "open(op_s(op, MONITOR_RUN_DIR)": "the run directory",
        "execv(argv[0]": "the interpreter",
    },
    "ready.c": {"open(op_s(op, READY_SOCKET_DIRECTORY)": "the run directory"},
    "mounts.c": {
        'mount(NULL, "/"': "propagation",
        "chdir(op_s(op, ROOT_OVERLAY_STORE)": "the store",
        'mount("overlay", op_s(op, ROOT_OVERLAY_TARGET)': "a directory of ours in the store",
        "open(op_s(op, ROOT_OVERLAY_TARGET)": "a directory of ours in the store",
        "open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)": "root.path of the bundle; a directory of ours in the store",
        'open("/dev/null"': "the host's, before the pivot; its numbers are compared",
        'open("/proc"': "the file system's type is compared",
    },
    "userns.c": {
        "open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)": "directories of ours in the store",
        'mount(NULL, "/"': "propagation, in a mount namespace that nobody else sees",
        "open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC)": "a mount of ours in a namespace of ours",
        "chdir(of->store)": "the store",
        "open(of.store": "the store",
        'mount("overlay", of->target': "a directory of ours in the store",
        'open("."': "where the guest begins: the container's directory",
    },
    "rmtree.c": {
        "unlink(path)": "the directory of ours that is removed",
        "rmdir(path)": "the directory of ours that is removed",
        "open(path": "the directory of ours that is removed",
    },
    "rootfs.c": {
        'open("/"': "to pivot",
        'open("/proc/self/mountinfo"': "the host's, before its root is left",
        "mount(NULL, point": "a mount point of the host's, as the kernel lists it, outside of the root",
        'mount("tmpfs", point': "the same",
        "umount2(point": "the same",
        "readlink(link": "a descriptor of ours in the host's proc",
        'chroot(".")': "the root's descriptor was changed into",
        'umount2("."': "the old root lies on the new one",
        'sys_pivot_root("."': "the root's descriptor was changed into",
        'chdir("/")': "the new root",
    },
    "sealed.c": {'open("/proc/self/exe"': "our own program"},
    "util.c": {'open("/dev/null"': "the host's"},
    "wait.c": {'open("/dev/null"': "the host's", 'chdir("/")': "of the host's side: it holds no directory"},
}


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", lambda match: re.sub(r"[^\n]", " ", match.group()), text, flags=re.DOTALL)


def c_calls(text: str, names: str) -> Iterator[str]:
    """Calls of these functions with their arguments, on one line."""
    for match in re.finditer(rf"(?<![\w.>\"])(?:{names})\(", text):
        depth, at = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        yield re.sub(r"\s+", " ", text[match.start() : at])


@pytest.mark.parametrize("path", C_FILES, ids=lambda path: path.name)
def test_the_helper_uses_no_path_but_those_with_a_reason(path: Path) -> None:
    allowed = ALLOWED_C.get(path.name, {})
    found = list(c_calls(without_comments(path.read_text()), BY_PATH))
    assert [call for call in found if not call.startswith(tuple(allowed))] == []
    assert [start for start in allowed if not any(call.startswith(start) for call in found)] == []


#: what makes a descriptor: the flag without which a program in a container could inherit it
BORN_CLOSED = {
    "open|openat": "O_CLOEXEC",
    "socket|socketpair|accept4": "SOCK_CLOEXEC",
    "pipe2|dup3": "O_CLOEXEC",
    "memfd_create": "MFD_CLOEXEC",
    "signalfd": "SFD_CLOEXEC",
    "recvmsg": "MSG_CMSG_CLOEXEC",
    "sys_open_tree": "OPEN_TREE_CLOEXEC_",
}


@pytest.mark.parametrize("path", C_FILES, ids=lambda path: path.name)
def test_every_descriptor_is_born_close_on_exec(path: Path) -> None:
    text = without_comments(path.read_text())
    if path.name == "util.c":
        text = text.replace('open("/dev/null", O_RDWR)', "")  # to be 0, 1 and 2
    assert list(c_calls(text, "pipe|dup|accept|epoll_create|inotify_init")) == (
        ["dup(fd)"] if path.name == "util.c" else []
    )
    for names, flag in BORN_CLOSED.items():
        assert [call for call in c_calls(text, names) if flag not in call] == []


#: They work below a guest's root.
HOSTILE = ("copyup.c", "guest.c", "mounts.c", "rmtree.c", "rootfs.c")


@pytest.mark.parametrize("name", HOSTILE)
def test_no_component_of_a_guests_path_is_followed_on_the_way(name: str) -> None:
    text = without_comments((SOURCE / "helper" / name).read_text())
    for call in c_calls(text, "openat"):
        assert "O_NOFOLLOW" in call or '"."' in call, call
    for call in c_calls(text, "sys_openat2|root_openat2"):
        if "int root" in call or "resolve)" in call:
            continue  # the function itself, and what hands its argument on
        assert "RESOLVE_IN_ROOT_" in call or "RESOLVE_BENEATH_" in call, call
        assert "RESOLVE_NO_MAGICLINKS_" in call, call
    for call in c_calls(text, "fstatat|fchownat|faccessat"):
        assert "AT_SYMLINK_NOFOLLOW" in call or "AT_EMPTY_PATH" in call, call


def test_what_is_by_path_in_c_is_found() -> None:
    text = 'int r = open("/x", 0);\n\tmkdirat(dir, "x", 0);\n/* mkdir("/y") */\nrun->open(x); mkdir(\n\tpath, 0700);'
    assert list(c_calls(without_comments(text), BY_PATH)) == ['open("/x", 0)', "mkdir( path, 0700)"]
