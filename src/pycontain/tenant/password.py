"""A password as shadow(5) has it. The text never comes near a command line or an environment."""

from __future__ import annotations

import ctypes
import os

from pycontain.kernel.errors import Error, UsageError

#: What a guest's C library may not know otherwise; 0: the library's own.
YESCRYPT, SHA512 = b"$y$", b"$6$"
_LIBRARIES = ("libcrypt.so.1", "libcrypt.so.2")
#: crypt(3): CRYPT_GENSALT_OUTPUT_SIZE
_SALT = 192
LONGEST = 511


def check(text: str) -> None:
    """Raises UsageError for what nobody could type at a login."""
    if not text:
        raise UsageError("the password is empty: type one, or write it to standard input")
    if any(character < " " or character == "\x7f" for character in text):
        raise UsageError("the password has control characters in it, which nobody can type at a login")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UsageError("the password is not UTF-8 text, as a login would type it") from None
    if size > LONGEST:
        raise UsageError(f"the password is longer than {LONGEST} bytes, the most that crypt(3) takes")


def hashed(text: str, distribution: str) -> str:
    """With a salt of its own, by the method that the distribution's login knows. Raises UsageError, Error."""
    check(text)
    library = _library()
    for method in (YESCRYPT, SHA512) if distribution == "debian" else (SHA512,):
        found = _by(library, text.encode(), method)
        if found:
            return found
    raise Error("cannot hash the password: this host's libcrypt knows neither yescrypt nor SHA-512 (crypt(5))")


def _library() -> ctypes.CDLL:
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise Error(f"cannot hash the password: this host has no {' or '.join(_LIBRARIES)}: install libcrypt (libxcrypt)")


def _by(library: ctypes.CDLL, text: bytes, method: bytes) -> str:
    """The hash, "" where it does not know the method."""
    try:
        gensalt, crypt = library.crypt_gensalt_rn, library.crypt
    except AttributeError:
        return ""
    gensalt.restype = crypt.restype = ctypes.c_char_p
    salt = ctypes.create_string_buffer(_SALT)
    random = os.urandom(32)
    if not gensalt(method, ctypes.c_ulong(0), random, len(random), salt, _SALT):
        return ""
    found: bytes | None = crypt(text, salt.value)
    # a failure is a text that no hash begins with (crypt(3))
    return found.decode() if found and found.startswith(method) else ""
