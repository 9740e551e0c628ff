"""pycontain: OS-level containers for Linux. See docs/design.md."""

__version__ = "0.1.0"
