"""Classic BPF programs as a graph, and the graph as struct sock_filter (linux/filter.h, seccomp(2)).

A node names what is done next, so a program is built from its end to its start; equal nodes are one node.
"""

from __future__ import annotations

from _struct import Struct

#: The kernel takes no longer program (BPF_MAXINSNS in linux/bpf_common.h).
MAX_INSTRUCTIONS = 4096

#: Offsets in struct seccomp_data.
NUMBER, ARCH, ARGUMENTS = 0, 4, 16

#: BPF_JMP | BPF_K and the comparison: unsigned, of the accumulator with the instruction's constant.
EQUAL, GREATER, NOT_LESS, ANY_BIT = 0x15, 0x25, 0x35, 0x45

_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06
_ALL = 0xFFFFFFFF
#: A conditional jump has eight bits for its distance; one is kept free for the trampoline of its other branch.
_NEAR = 254

_INSTRUCTION = Struct("=HBBI")


class TooLong(Exception):
    """A program that the kernel would not take; ``length`` in instructions."""

    def __init__(self, length: int) -> None:
        super().__init__(f"{length} instructions")
        self.length = length


class Program:
    """A graph of BPF instructions. Methods return the number of a node; they take the nodes that come after it."""

    def __init__(self) -> None:
        #: (code, constant, next if true, next if false); nodes come after those that they name.
        self._nodes: list[tuple[int, int, int, int]] = []
        self._numbers: dict[tuple[int, int, int, int], int] = {}

    def _node(self, code: int, constant: int, true: int = -1, false: int = -1) -> int:
        node = (code, constant, true, false)
        number = self._numbers.get(node)
        if number is None:
            number = self._numbers[node] = len(self._nodes)
            self._nodes.append(node)
        return number

    def ret(self, value: int) -> int:
        """End with this action."""
        return self._node(_RETURN, value)

    def load(self, offset: int, then: int) -> int:
        """Load 32 bits of struct seccomp_data into the accumulator."""
        return self._node(_LOAD, offset, then)

    def mask(self, bits: int, then: int) -> int:
        """Keep these bits of the accumulator."""
        return then if bits == _ALL else self._node(_AND, bits, then)

    def test(self, comparison: int, constant: int, true: int, false: int) -> int:
        """Go on with ``true`` or ``false``. A test that can have only one result is left out."""
        if true == false or (comparison == NOT_LESS and constant == 0):
            return true
        if comparison == GREATER and constant == _ALL:
            return false
        return self._node(comparison, constant, true, false)

    def assemble(self, start: int) -> bytes:
        """The program that begins with node ``start``. Raises TooLong."""
        code = _Code(self._nodes)
        for number in self._reachable(start):
            code.place(number)
        instructions = code.instructions
        if len(instructions) > MAX_INSTRUCTIONS:
            raise TooLong(len(instructions))
        instructions.reverse()
        pack = _INSTRUCTION.pack
        return b"".join([pack(*instruction) for instruction in instructions])

    def _reachable(self, start: int) -> list[int]:
        """The nodes that ``start`` leads to, each after the nodes that it names."""
        seen = {start}
        stack = [start]
        while stack:
            for number in self._nodes[stack.pop()][2:]:
                if number >= 0 and number not in seen:
                    seen.add(number)
                    stack.append(number)
        return sorted(seen)


class _Code:
    """Instructions in reverse order. BPF jumps forwards only, so what an instruction jumps to is already there."""

    def __init__(self, nodes: list[tuple[int, int, int, int]]) -> None:
        self._nodes = nodes
        #: (code, distance if true, distance if false, constant), the program's last instruction first.
        self.instructions: list[tuple[int, int, int, int]] = []
        #: Where a node is, as the number of instructions from it to the end. A copy nearer to the start replaces it.
        self._at: dict[int, int] = {}

    def _reach(self, number: int, farthest: int) -> None:
        """Make the node reachable by a jump over at most ``farthest`` instructions."""
        distance = len(self.instructions) - self._at[number]
        if distance <= farthest:
            return
        code, constant = self._nodes[number][:2]
        if code == _RETURN:
            self.instructions.append((code, 0, 0, constant))
        else:
            self.instructions.append((_JUMP, 0, 0, distance))
        self._at[number] = len(self.instructions)

    def place(self, number: int) -> None:
        """Put the node before what is there."""
        code, constant, true, false = self._nodes[number]
        instructions = self.instructions
        if false >= 0:
            self._reach(false, _NEAR)
            self._reach(true, _NEAR)
            here = len(instructions)
            instructions.append((code, here - self._at[true], here - self._at[false], constant))
        else:
            if true >= 0:
                self._reach(true, 0)
            instructions.append((code, 0, 0, constant))
        self._at[number] = len(instructions)
