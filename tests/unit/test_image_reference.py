"""Image references: grammar, normalisation, file names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontain.image.reference import Reference, decode, encode, is_id, parse
from pycontain.kernel.errors import UsageError

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "registry", "path", "tag", "digest"),
    [
        ("busybox", "", "busybox", "latest", ""),
        ("busybox:1.36", "", "busybox", "1.36", ""),
        ("a/b/c:V_1.2-x", "", "a/b/c", "V_1.2-x", ""),
        ("a__b", "", "a__b", "latest", ""),
        ("a---b.c_d", "", "a---b.c_d", "latest", ""),
        ("localhost/x", "localhost", "x", "latest", ""),
        ("localhost:5000", "", "localhost", "5000", ""),
        ("localhost:5000/x", "localhost:5000", "x", "latest", ""),
        ("docker.io/library/busybox", "docker.io", "library/busybox", "latest", ""),
        ("Host/x:1", "Host", "x", "1", ""),
        ("[::1]:5000/x:1", "[::1]:5000", "x", "1", ""),
        ("library/busybox", "", "library/busybox", "latest", ""),
        (f"busybox@{DIGEST}", "", "busybox", "", DIGEST),
        (f"h:5/busybox:1@{DIGEST}", "h:5", "busybox", "1", DIGEST),
        ("abcdef", "", "abcdef", "latest", ""),
    ],
)
def test_parse(text: str, registry: str, path: str, tag: str, digest: str) -> None:
    reference = parse(text)
    assert (reference.registry, reference.path, reference.tag, reference.digest) == (registry, path, tag, digest)
    assert parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("Busybox", "lower case ('busybox')"),
        ("busybox:", "tag after the colon is empty"),
        ("busybox:-1", "tag '-1'"),
        ("busybox:.1", "tag '.1'"),
        ("busybox:1:2", "tag '1:2'"),
        ("busybox:" + "x" * 129, "129 characters"),
        ("/busybox", "a slash too many"),
        ("a//b", "a slash too many"),
        ("a/", "a slash too many"),
        ("-a", "'-a' may have"),
        ("a-", "'a-' may have"),
        ("a..b", "'a..b' may have"),
        ("a___b", "'a___b' may have"),
        ("a_-b", "'a_-b' may have"),
        ("a b", "space"),
        ("a\nb", "control"),
        ("a\0b", "control"),
        ("ä", "may have"),
        ("h:0/x", "port"),
        ("h:65536/x", "port"),
        ("h:" + "9" * 5000 + "/x", "port"),
        ("h:١/x", "port"),
        ("-h.x/y", "host name"),
        ("h..x/y", "host name"),
        ("[::1/x", "IPv6"),
        ("a@", "sha256:"),
        ("a@md5:" + "0" * 32, "sha256:"),
        ("a@sha256:" + "0" * 63, "64"),
        ("a@sha256:" + "A" * 64, "lower-case"),
        ("0123456789abcdef" * 4, "image ID"),
        ("x" * 256, "256 characters"),
        ("a/" * 90 + "b", "image store"),
        ("../../etc/passwd", "host name"),
        ("a/../b", "may have"),
        (".", "may have"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert "give [REGISTRY" in caught.value.message


def test_file_names() -> None:
    assert parse("localhost:5000/a/b:1").encode() == "localhost%3A5000%2Fa%2Fb%3A1"
    assert encode(".x") == "%2Ex"
    with pytest.raises(ValueError):
        decode(".tmp-1")
    with pytest.raises(ValueError):
        decode("%zz")


@given(st.text(max_size=60))
def test_file_name_of_anything(text: str) -> None:
    try:
        encoded = encode(text)
    except UnicodeEncodeError:
        return
    assert decode(encoded) == text
    assert "/" not in encoded and "\0" not in encoded and not encoded.startswith(".")


@given(st.text(alphabet="abAB01:/@._-[]% \n", max_size=40))
def test_parse_gives_a_reference_or_a_usage_error(text: str) -> None:
    try:
        reference = parse(text)
    except UsageError:
        return
    assert parse(str(reference)) == reference
    assert decode(reference.encode()) == str(reference)


def test_is_id() -> None:
    assert is_id("abcdef") and is_id("0" * 64)
    assert not is_id("abcde") and not is_id("abcdeg") and not is_id("ABCDEF") and not is_id("0" * 65)


def test_reference_is_a_value() -> None:
    assert parse("a") == Reference("a") and hash(parse("a")) == hash(Reference("a"))
    assert parse("a") != parse("b") and repr(parse("a")) == "Reference('a:latest')"
    assert parse("h.x/a:1").name == "h.x/a"
