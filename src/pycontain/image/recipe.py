"""Recipes: what an image is made of, as a small TOML file (docs/images.md). Off the start road: imports pydantic.

A recipe is data. It is checked whole before anything is built, and what is wrong is one line with the TOML path.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pycontain.image.reference import Reference, parse
from pycontain.kernel import files
from pycontain.kernel.errors import Error, NotFound, UsageError, os_text

FILE = "recipe.toml"
#: Recipes of the host's administrator; those that ship are beside the package (see directories()).
HOST_DIRECTORY = "/etc/pycontain/recipes"


def _no_control(text: str) -> str:
    if any(char < " " or char == "\x7f" for char in text):
        raise ValueError("control characters are not allowed")
    return text


def _absolute(text: str) -> str:
    parts = text.split("/")
    if parts[0] or ".." in parts or "." in parts or not text.strip("/"):
        raise ValueError("must be an absolute path without '.' and '..', below '/'")
    return _no_control(text)


def _workdir(text: str) -> str:
    return text if text in ("", "/") else _absolute(text)


def _relative(text: str) -> str:
    parts = text.split("/")
    if not parts[0] or ".." in parts:
        raise ValueError("must be a path inside the recipe's folder, without '..'")
    return _no_control(text)


def _host_pattern(text: str) -> str:
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError("must be an absolute path of the host without '..', it may have wildcards")
    return _no_control(text)


def _mode(text: str) -> str:
    if not (3 <= len(text) <= 4 and set(text) <= set("01234567")):
        raise ValueError('must be an octal mode such as "0755"')
    return text


def _package(text: str) -> str:
    # Debian Policy, 5.6.1, with apt's :ARCH and =VERSION; never an option.
    if not text or not text[0].isalnum() or set(text.lower()) - set("abcdefghijklmnopqrstuvwxyz0123456789+-.:=~"):
        raise ValueError("is not a package name")
    return text


def _word(text: str) -> str:
    if not text or not text[0].isalnum() or set(text) - _WORD:
        raise ValueError("may have letters, digits, '.', '_', '+' and '-', and begins with a letter or digit")
    return text


def _optional_word(text: str) -> str:
    return _word(text) if text else text


_WORD = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")


def _port(text: str) -> str:
    number, slash, protocol = text.partition("/")
    good = len(number) < 6 and number.isascii() and number.isdigit() and 0 < int(number) < 65536
    if not good or (slash and protocol not in ("tcp", "udp", "sctp")):
        raise ValueError('must be a port such as "80" or "53/udp"')
    return text if slash else f"{text}/tcp"


def _name(text: str) -> str:
    try:
        reference = parse(text)
    except UsageError as error:
        raise ValueError(error.message) from None
    if reference.digest:
        raise ValueError("must be a name without a digest")
    return text


Text = Annotated[str, AfterValidator(_no_control)]
Path = Annotated[str, AfterValidator(_absolute)]
Source = Annotated[str, AfterValidator(_relative)]
HostPattern = Annotated[str, AfterValidator(_host_pattern)]
Mode = Annotated[str, AfterValidator(_mode)]
Package = Annotated[str, AfterValidator(_package)]
Word = Annotated[str, AfterValidator(_word)]
OptionalWord = Annotated[str, AfterValidator(_optional_word)]
Workdir = Annotated[str, AfterValidator(_workdir)]
Port = Annotated[str, AfterValidator(_port)]
Name = Annotated[str, AfterValidator(_name)]
Id = Annotated[int, Field(ge=0, le=2**32 - 2)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Config(_Model):
    """What a container of the image runs unless it is told otherwise."""

    entrypoint: list[Text] = []
    cmd: list[Text] = []
    env: dict[str, Text] = {}
    user: Text = ""
    workdir: Workdir = ""
    stop_signal: OptionalWord = ""
    exposed_ports: list[Port] = []
    volumes: list[Path] = []
    labels: dict[Text, str] = {}

    @model_validator(mode="after")
    def _check(self) -> Config:
        for key in self.env:
            if not key or "=" in key or _no_control(key) != key:
                raise ValueError(f"env: {key!r} is not the name of a variable")
        return self

    def oci(self) -> dict[str, Any]:
        """The ``config`` of an OCI image configuration (image-spec, config.md); only what is set."""
        values: dict[str, Any] = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Env": [f"{key}={value}" for key, value in self.env.items()],
            "Entrypoint": self.entrypoint,
            "Cmd": self.cmd,
            "Volumes": {path: {} for path in self.volumes},
            "WorkingDir": self.workdir,
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
        }
        return {key: value for key, value in values.items() if value}


class Debs(_Model):
    """Debian packages, downloaded and unpacked, without their dependencies and without running their scripts."""

    packages: list[Package] = Field(min_length=1)
    #: Files of this host that are taken where the packages cannot be downloaded.
    fallback: list[Path] = []


class Mmdebstrap(_Model):
    """A Debian system made by mmdebstrap(1)."""

    #: "": the host's release.
    suite: OptionalWord = ""
    variant: Word = "minbase"
    include: list[Package] = []
    components: list[Word] = ["main"]
    #: dpkg(1) path filters: documentation and translations that do not get into the image, now or later.
    path_exclude: list[HostPattern] = []
    path_include: list[HostPattern] = []


class Sparse(_Model):
    """A root that shares directories of the host, read-only, and has the files beside them that those need."""

    directories: list[Path] = Field(min_length=1)
    #: Patterns of host files that are copied where every user of the host may read them.
    copy_host: list[HostPattern] = []


class Directory(_Model):
    """A directory; a text alone is its mode."""

    mode: Mode = "0755"
    uid: Id = 0
    gid: Id = 0

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"mode": value} if isinstance(value, str) else value


class File(_Model):
    """A file; a text alone is its content."""

    content: str = ""
    mode: Mode = "0644"
    uid: Id = 0
    gid: Id = 0

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"content": value} if isinstance(value, str) else value


class Step(_Model):
    """One step of a build: exactly one of these."""

    debs: Debs | None = None
    mmdebstrap: Mmdebstrap | None = None
    sparse: Sparse | None = None
    applets: Path | None = None
    directories: dict[Path, Directory] | None = None
    files: dict[Path, File] | None = None
    symlinks: dict[Path, Text] | None = None
    #: Target in the image: source in the recipe's folder.
    copy_in: dict[Path, Source] | None = Field(default=None, alias="copy")
    remove: list[Path] | None = None

    @property
    def kind(self) -> str:
        """Which one it is, by its key."""
        return next(iter(self._given()), "")

    def _given(self) -> list[str]:
        fields = type(self).model_fields
        return [fields[name].alias or name for name in fields if getattr(self, name) is not None]

    @model_validator(mode="after")
    def _one(self) -> Step:
        given = self._given()
        if len(given) != 1:
            kinds = ", ".join(field.alias or name for name, field in type(self).model_fields.items())
            raise ValueError(f"has {', '.join(given) or 'nothing'}: a step has exactly one of {kinds}")
        return self


class Recipe(_Model):
    """A whole recipe. ``folder`` is where it was read from: ``copy`` takes its files from there."""

    FIELDS: ClassVar[tuple[str, ...]] = ("name", "description", "extends", "config", "step")

    name: Name
    description: Text = ""
    #: A recipe, by its name, whose steps come before these; its ``config`` does not count.
    extends: OptionalWord = ""
    config: Config = Config()
    steps: list[Step] = Field(min_length=1, alias="step")
    folder: str = Field(default="", exclude=True)

    @property
    def reference(self) -> Reference:
        """What its image is called unless somebody says otherwise."""
        return parse(self.name)

    @model_validator(mode="after")
    def _order(self) -> Recipe:
        for number, step in enumerate(self.steps):
            if step.mmdebstrap and (number or self.extends):
                raise ValueError(f"step[{number}].mmdebstrap must be the first step: it needs an empty root")
        return self


def directories() -> list[str]:
    """Where recipes are looked for by name, in this order."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [f"{package}/recipes", HOST_DIRECTORY]


def available(places: list[str] | None = None) -> list[str]:
    """The names of the recipes that find() finds."""
    names: set[str] = set()
    for place in directories() if places is None else places:
        try:
            names.update(name for name in os.listdir(place) if os.path.isfile(f"{place}/{name}/{FILE}"))
        except OSError:
            continue
    return sorted(names)


def find(name: str, places: list[str] | None = None) -> Recipe:
    """The recipe ``name``, or that at the path ``name`` where it has a slash: a folder, or the file itself.

    Raises NotFound naming the recipes that there are, Error where the recipe is wrong.
    """
    if "/" in name:
        return load(f"{name.rstrip('/')}/{FILE}" if os.path.isdir(name) else name, places)
    folder = name.removesuffix(":latest")  # as lists of images have it
    for place in directories() if places is None else places:
        path = f"{place}/{folder}/{FILE}"
        if folder not in ("", ".", "..") and os.path.isfile(path):
            return load(path, places)
    others = ", ".join(available(places)) or "none"
    raise NotFound(f"recipe {name!r} does not exist: there are {others}; for a recipe of your own give a path with '/'")


def load(path: str, places: list[str] | None = None) -> Recipe:
    """Read and check a recipe, with the steps of what it extends before its own.

    places: where that is looked for, of directories() where it is None. Raises NotFound, or Error: ``PATH: TOML.PATH:
    what is wrong``.
    """
    found = _read(path)
    if not found.extends:
        return found
    base = _extended(path, found, places)
    return found.model_copy(update={"steps": [*base.steps, *found.steps]})


def _extended(path: str, recipe: Recipe, places: list[str] | None) -> Recipe:
    """What a recipe extends. Raises Error."""
    for place in directories() if places is None else places:
        other = f"{place}/{recipe.extends}/{FILE}"
        if os.path.isfile(other):
            break
    else:
        others = ", ".join(available(places)) or "none"
        raise Error(f"recipe {path}: extends: recipe {recipe.extends!r} does not exist: there are {others}")
    base = _read(other)
    if base.extends:
        raise Error(f"recipe {path}: extends: recipe {recipe.extends!r} extends another one itself: name that")
    if any(step.copy_in for step in base.steps):
        raise Error(f"recipe {path}: extends: recipe {recipe.extends!r} copies files of its own folder")
    return base


def _read(path: str) -> Recipe:
    import tomllib

    try:
        text = files.read_bytes(path, limit=1 << 20).decode()
    except FileNotFoundError:
        raise NotFound(f"recipe {path} does not exist") from None
    except OSError as error:
        raise Error(f"cannot read recipe {path}: {os_text(error)}") from None
    except UnicodeDecodeError as error:
        raise Error(f"recipe {path}: not UTF-8 at byte {error.start}") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Error(f"recipe {path}: not TOML: {error}") from None
    except RecursionError:
        raise Error(f"recipe {path}: nested too deeply") from None
    return _checked(path, data)


def _checked(path: str, data: dict[str, Any]) -> Recipe:
    if "folder" in data:
        raise Error(f"recipe {path}: folder: unknown key; there are {', '.join(Recipe.FIELDS)}")
    try:
        return Recipe(**data, folder=os.path.dirname(os.path.abspath(path)))
    except ValidationError as error:
        found = error.errors(include_url=False)
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise Error(f"recipe {path}: {_sentence(dict(found[0]))}{more}") from None


def _sentence(error: dict[str, Any]) -> str:
    """TOML path and problem of one of pydantic's errors."""
    where = _toml_path(error["loc"])
    kind, message = error["type"], str(error["msg"])
    if kind == "extra_forbidden":
        names = _known(error["loc"][:-1])
        message = f"unknown key; there are {', '.join(names)}" if names else "unknown key"
    elif kind == "missing":
        message = "is missing"
    elif kind in ("model_type", "dict_type"):
        message = "must be a table"
    elif kind == "value_error":
        message = message.removeprefix("Value error, ")
    else:
        message = message.replace("Input should be a valid", "must be a").replace("Input should be", "must be")
        message = message.replace("must be a integer", "must be an integer").replace(
            "dictionary or instance of", "table:"
        )
    message = message.replace("\n", " ")
    return f"{where}: {message}" if where else message


def _toml_path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part == "[key]":
            continue
        elif part.replace("_", "").replace("-", "").isalnum() and part.isascii():
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]' if "/" in part else f".{part!r}"
    return text


def _known(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the table at ``location``."""
    parts = [part for part in location if isinstance(part, str)]
    table: type[BaseModel] = Recipe
    tables: dict[str, type[BaseModel]] = {
        "config": Config,
        "step": Step,
        "debs": Debs,
        "mmdebstrap": Mmdebstrap,
        "sparse": Sparse,
    }
    for part in parts:
        if part in ("directories", "files") and table is Step:
            table = Directory if part == "directories" else File
        else:
            table = tables.get(part, table)
    return [field.alias or name for name, field in table.model_fields.items() if name != "folder"]
