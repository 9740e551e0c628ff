"""eBPF instructions as bytes: the few that a filter needs (RFC 9669; linux/bpf.h, struct bpf_insn).

A program is the instructions one after the other. Jumps count instructions, from the one after the jump.
"""

from __future__ import annotations

import sys
from _struct import Struct

_INSTRUCTION = Struct("=BBhi")
_LITTLE = sys.byteorder == "little"
#: Bytes an instruction.
SIZE = 8

R0, R1, R2, R3, R4, R5 = range(6)

#: Operation codes: class, then source (K is a constant, X a register), then operation.
MOV64_K = 0xB7
AND32_K = 0x54
RSH32_K = 0x74
MOV32_X = 0xBC
LDX_W = 0x61
JA = 0x05
JEQ_K = 0x15
JNE_K = 0x55
JSET_K = 0x45
EXIT = 0x95


def instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    """One instruction. constant: 32 bits, signed."""
    # The two register numbers are bit fields of one byte, so their order follows the machine's.
    registers = destination | source << 4 if _LITTLE else destination << 4 | source
    return _INSTRUCTION.pack(code, registers, offset, constant)


def move(destination: int, constant: int) -> bytes:
    """destination = constant"""
    return instruction(MOV64_K, destination, constant=constant)


def copy(destination: int, source: int) -> bytes:
    """destination = the lower 32 bits of source"""
    return instruction(MOV32_X, destination, source)


def mask(destination: int, constant: int) -> bytes:
    """destination &= constant, in 32 bits"""
    return instruction(AND32_K, destination, constant=constant)


def shift_right(destination: int, bits: int) -> bytes:
    """destination >>= bits, in 32 bits, unsigned"""
    return instruction(RSH32_K, destination, constant=bits)


def load(destination: int, source: int, offset: int) -> bytes:
    """destination = the 32-bit word at source + offset"""
    return instruction(LDX_W, destination, source, offset)


def jump(offset: int) -> bytes:
    """Go on ``offset`` instructions further."""
    return instruction(JA, offset=offset)


def jump_unequal(register: int, constant: int, offset: int) -> bytes:
    """Jump when register != constant."""
    return instruction(JNE_K, register, 0, offset, constant)


def jump_any(register: int, bits: int, offset: int) -> bytes:
    """Jump when register & bits is not 0."""
    return instruction(JSET_K, register, 0, offset, bits)


def leave() -> bytes:
    """End with R0 as the result."""
    return instruction(EXIT)
