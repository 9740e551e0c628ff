"""Recipes: what is right, and one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from pycontain.image import recipe
from pycontain.kernel.errors import Error, NotFound

SHIPPED = str(Path(__file__).parents[2] / "images")

GOOD = """
name = "x:1"
description = "d"
[config]
entrypoint = ["/e"]
cmd = ["a", "b"]
env = { A = "1", B = "2=3" }
user = "www:33"
workdir = "/srv"
stop_signal = "SIGQUIT"
exposed_ports = ["80", "53/udp"]
volumes = ["/data"]
labels = { "a.b" = "c" }
[[step]]
debs = { packages = ["a", "b:amd64", "c=1:2~3"], fallback = ["/bin/a"] }
[[step]]
directories = { "/a" = "0700", "/b" = { mode = "1777", uid = 5 } }
[[step]]
files = { "/f" = "content", "/g" = { content = "x", mode = "600" } }
[[step]]
symlinks = { "/l" = "../f" }
[[step]]
copy = { "/c" = "sub/file" }
[[step]]
remove = ["/a*/b"]
"""


def _load(tmp_path: Path, text: str) -> recipe.Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return recipe.load(str(path))


def test_good(tmp_path: Path) -> None:
    found = _load(tmp_path, GOOD)
    assert str(found.reference) == "x:1" and found.folder == str(tmp_path)
    assert [step.kind for step in found.steps] == ["debs", "directories", "files", "symlinks", "copy", "remove"]
    assert found.config.oci() == {
        "User": "www:33",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Env": ["A=1", "B=2=3"],
        "Entrypoint": ["/e"],
        "Cmd": ["a", "b"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/srv",
        "Labels": {"a.b": "c"},
        "StopSignal": "SIGQUIT",
    }


HEAD = 'name = "x"\n'
STEP = '[[step]]\nremove = ["/a"]\n'

BAD = [
    ("", "name: is missing"),
    (HEAD, "step: is missing"),
    (HEAD + "step = []", "step: "),
    (HEAD + "step = 3", "step: must be a list"),
    (HEAD + "step = [3]", "step[0]: must be a table"),
    ("name = 3\n" + STEP, "name: must be a string"),
    ('name = "X"\n' + STEP, "name: image reference 'X': the name must be lower case"),
    ('name = "x@sha256:' + "0" * 64 + '"\n' + STEP, "name: must be a name without a digest"),
    ('nam = "x"\n' + HEAD + STEP, "nam: unknown key; there are name, description, extends, config, step"),
    ('folder = "/"\n' + HEAD + STEP, "folder: unknown key"),
    (HEAD + "[[step]]\n", "step[0]: has nothing: a step has exactly one of debs, "),
    (HEAD + '[[step]]\nremove=["/a"]\nfiles={"/a"=""}\n', "step[0]: has files, remove: a step has exactly one of"),
    (HEAD + STEP + "[[step]]\nfoo = 1", "step[1].foo: unknown key; there are debs, mmdebstrap,"),
    (HEAD + STEP + "[[step]]\nmmdebstrap = {}", "step[1].mmdebstrap must be the first step"),
    (HEAD + STEP + "[config]\ncmdd = 1", "config.cmdd: unknown key; there are entrypoint, cmd,"),
    (HEAD + STEP + '[config]\ncmd = "/bin/sh"', "config.cmd: must be a list"),
    (HEAD + STEP + "[config]\ncmd = [1]", "config.cmd[0]: must be a string"),
    (HEAD + STEP + '[config]\nenv = { "A=" = "1" }', "config: env: 'A=' is not the name of a variable"),
    (HEAD + STEP + '[config]\nenv = { A = "1\\n2" }', "config.env.A: control characters"),
    (HEAD + STEP + '[config]\nuser = "a\\nb"', "config.user: control characters"),
    (HEAD + STEP + '[config]\nworkdir = "srv"', "config.workdir: must be an absolute path"),
    (HEAD + STEP + '[config]\nworkdir = "/srv/../.."', "config.workdir: must be an absolute path"),
    (HEAD + STEP + '[config]\nexposed_ports = ["99999"]', 'config.exposed_ports[0]: must be a port such as "80"'),
    (HEAD + STEP + '[config]\nexposed_ports = ["1/xyz"]', "config.exposed_ports[0]: must be a port"),
    (HEAD + STEP + '[config]\nstop_signal = "-9"', "config.stop_signal: may have letters"),
    (HEAD + '[[step]]\nremove = ["/"]', "step[0].remove[0]: must be an absolute path"),
    (HEAD + '[[step]]\nremove = ["/a/../../b"]', "step[0].remove[0]: must be an absolute path"),
    (HEAD + "[[step]]\ndebs = { packages = [] }", "step[0].debs.packages: "),
    (HEAD + '[[step]]\ndebs = { packages = ["-o=x"] }', "step[0].debs.packages[0]: is not a package name"),
    (HEAD + '[[step]]\ndebs = { packages = ["a b"] }', "step[0].debs.packages[0]: is not a package name"),
    (HEAD + '[[step]]\ndebs = { package = ["a"] }', "step[0].debs"),
    (HEAD + '[[step]]\nmmdebstrap = { suite = "--x" }', "step[0].mmdebstrap.suite: may have letters"),
    (HEAD + '[[step]]\nmmdebstrap = { suit = "x" }', "step[0].mmdebstrap.suit: unknown key; there are suite, variant,"),
    (HEAD + '[[step]]\nmmdebstrap = { path_exclude = ["usr"] }', "step[0].mmdebstrap.path_exclude[0]: must be an abs"),
    (HEAD + "[[step]]\nsparse = {}", "step[0].sparse.directories: is missing"),
    (HEAD + '[[step]]\nsparse = { directories = ["usr"] }', "step[0].sparse.directories[0]: must be an absolute path"),
    (HEAD + '[[step]]\ndirectories = { "/a" = "999" }', 'step[0].directories["/a"].mode: must be an octal mode'),
    (HEAD + '[[step]]\ndirectories = { "/a" = 755 }', 'step[0].directories["/a"]: must be a table'),
    (HEAD + '[[step]]\ndirectories = { "a" = "755" }', "step[0].directories.a: must be an absolute path"),
    (HEAD + '[[step]]\nfiles = { "/a" = { uid = -1 } }', 'step[0].files["/a"].uid: must be'),
    (HEAD + '[[step]]\nfiles = { "/a" = { text = "" } }', 'step[0].files["/a"].text: unknown key; there are content,'),
    (HEAD + '[[step]]\nsymlinks = { "/a" = 1 }', 'step[0].symlinks["/a"]: must be a string'),
    (HEAD + '[[step]]\ncopy = { "/a" = "../x" }', 'step[0].copy["/a"]: must be a path inside the recipe'),
    (HEAD + '[[step]]\ncopy = { "/a" = "/etc/shadow" }', 'step[0].copy["/a"]: must be a path inside the recipe'),
    (HEAD + "[[step]]\napplets = 1", "step[0].applets: must be a string"),
    (HEAD + "step", "not TOML: "),
    (HEAD + HEAD, "not TOML: "),
    ("a = " + "[" * 100000, "nested too deeply"),
]


@pytest.mark.parametrize(("text", "words"), BAD, ids=[words[:40] for _, words in BAD])
def test_bad(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Error) as caught:
        _load(tmp_path, text)
    message = caught.value.message
    assert message.startswith(f"recipe {tmp_path}/recipe.toml: {words}"), message
    assert "\n" not in message and "pydantic" not in message and "Input" not in message


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(Error, match="not UTF-8 at byte 8"):
        recipe.load(f"{tmp_path}/recipe.toml")
    with pytest.raises(Error, match=r"cannot read recipe .*: Is a directory"):
        recipe.load(str(tmp_path))
    with pytest.raises(NotFound, match="none does not exist"):
        recipe.load(f"{tmp_path}/none")


def test_find(tmp_path: Path) -> None:
    for place, name in (("one", "a"), ("two", "a"), ("two", "b")):
        (tmp_path / place / name).mkdir(parents=True)
        (tmp_path / place / name / "recipe.toml").write_text(f'name = "{name}"\ndescription = "{place}"\n' + STEP)
    places = [str(tmp_path / place) for place in ("none", "one", "two")]
    assert recipe.available(places) == ["a", "b"]
    assert recipe.find("a", places).description == "one" and recipe.find("b", places).description == "two"
    assert recipe.find("a:latest", places).description == "one"
    assert recipe.find(f"{tmp_path}/two/a").description == "two"
    assert recipe.find(f"{tmp_path}/two/a/recipe.toml").description == "two"
    for name in ("c", "", "..", "."):
        with pytest.raises(NotFound, match="does not exist: there are a, b; for a recipe of your own give a path"):
            recipe.find(name, places)
    assert recipe.directories()[0].endswith("/pycontain/recipes")
    assert recipe.directories()[1] == "/etc/pycontain/recipes"


@pytest.mark.parametrize("name", ["busybox", "busybox-vps", "debian", "debian-vps", "sparse"])
def test_shipped(name: str) -> None:
    found = recipe.find(name, [SHIPPED])
    assert found.name == name and found.description and found.config.cmd


def test_templates_say_how_they_boot() -> None:
    for name in ("busybox-vps", "debian-vps"):
        config = recipe.find(name, [SHIPPED]).config
        labels = config.labels
        assert labels["io.pycontain.template"] == "1"
        assert labels["io.pycontain.template.init"].split() == config.cmd
        assert labels["io.pycontain.template.stop-signal"] == config.stop_signal
        assert labels["io.pycontain.template.ready"] in ("notify", "console")


def _two(tmp_path: Path, base: str, more: str) -> list[str]:
    for name, text in (("base", base), ("more", more)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.toml").write_text(f'name = "{name}"\n{text}')
    return [str(tmp_path)]


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    places = _two(tmp_path, "[config]\ncmd = ['a']\n" + STEP, 'extends = "base"\n[[step]]\nremove = ["/x"]\n')
    found = recipe.find("more", places)
    assert found.name == "more" and found.config.cmd == []
    assert [step.kind for step in found.steps][-1] == "remove" and len(found.steps) == 2
    assert recipe.find(f"{tmp_path}/more", places).steps == found.steps


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("", "extends: recipe 'none' does not exist: there are base, more"),
        ('extends = "other"\n' + STEP, "extends: recipe 'base' extends another one itself: name that"),
        ('[[step]]\ncopy = { "/a" = "a" }', "extends: recipe 'base' copies files of its own folder"),
    ],
)
def test_what_cannot_be_extended(tmp_path: Path, base: str, words: str) -> None:
    name = "base" if base else "none"
    places = _two(tmp_path, base or STEP, f'extends = "{name}"\n' + STEP)
    with pytest.raises(Error) as caught:
        recipe.find("more", places)
    assert caught.value.message == f"recipe {tmp_path}/more/recipe.toml: {words}"


def test_a_system_of_mmdebstrap_extends_nothing(tmp_path: Path) -> None:
    text = 'name = "a"\nextends = "busybox"\n[[step]]\nmmdebstrap = {}\n'
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(Error, match="must be the first step"):
        recipe.load(f"{tmp_path}/recipe.toml", [SHIPPED])


def test_every_shipped_recipe_is_tested() -> None:
    assert recipe.available([SHIPPED]) == ["busybox", "busybox-vps", "debian", "debian-vps", "sparse"]


def test_the_example_of_the_manual(tmp_path: Path) -> None:
    text = (Path(SHIPPED).parent / "man/pycontain-image.1").read_text()
    example = text.partition(".Bd -literal -offset indent\n")[2].partition(".Ed")[0].replace("\\e", "\\")
    found = _load(tmp_path, example)
    assert found.name == "files" and [step.kind for step in found.steps] == ["debs", "applets", "copy", "files"]


def test_the_manual_has_every_key() -> None:
    text = (Path(SHIPPED).parent / "man/pycontain-image.1").read_text()
    tables = (recipe.Recipe, recipe.Config, recipe.Step, recipe.Debs, recipe.Mmdebstrap, recipe.Sparse, recipe.File)
    keys = {field.alias or name for table in tables for name, field in table.model_fields.items()} - {"folder"}
    assert [key for key in sorted(keys) if f" {key} " not in text.replace("\n", " ")] == []
