"""A password as shadow(5) has it. The text never comes near a command line or an environment."""

from __future__ import annotations

import ctypes
import os
import subprocess

from pycontain.kernel.errors import Error, UsageError, os_text

#: What a guest's C library may not know otherwise; 0: the library's own.
YESCRYPT, SHA512 = b"$y$", b"$6$"
#: crypt(3): CRYPT_GENSALT_OUTPUT_SIZE
_SALT = 192
LONGEST = 511


def check(text: str) -> None:
    """Raises UsageError for what nobody could type at a login."""
    if not text:
        raise UsageError("the password is empty: type one, or write it to standard input")
    if any(character < " " or character == "\x7f" for character in text):
        raise UsageError("the password has control characters in it, which nobody can type at a login")
    if len(text.encode()) > LONGEST:
        raise UsageError(f"the password is longer than {LONGEST} bytes, the most that crypt(3) takes")


def hashed(text: str, distribution: str) -> str:
    """With a salt of its own, by the method that the distribution's login knows. Raises UsageError, Error."""
    check(text)
    method = YESCRYPT if distribution == "debian" else SHA512
    return _by_library(text.encode(), method) or _by_openssl(text.encode())


def _by_library(text: bytes, method: bytes) -> str:
    """By this host's libcrypt; "" where there is none, or it does not know the method."""
    try:
        library = ctypes.CDLL("libcrypt.so.1")
        gensalt, crypt = library.crypt_gensalt_rn, library.crypt
    except (OSError, AttributeError):
        return ""
    gensalt.restype = crypt.restype = ctypes.c_char_p
    salt = ctypes.create_string_buffer(_SALT)
    random = os.urandom(32)
    if not gensalt(method, ctypes.c_ulong(0), random, len(random), salt, _SALT):
        return ""
    found = crypt(text, salt.value)
    # a failure is a text that no hash begins with (crypt(3))
    return found.decode() if found and found.startswith(method) else ""


def _by_openssl(text: bytes) -> str:
    try:
        done = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"], input=text + b"\n", capture_output=True, check=False
        )
    except OSError as error:
        raise Error(f"cannot hash the password: no libcrypt.so.1, and openssl: {os_text(error)}") from None
    if done.returncode or not done.stdout.startswith(SHA512):
        raise Error(f"cannot hash the password: openssl passwd: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode().strip()
