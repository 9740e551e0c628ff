"""stats: figures of the network, and what is said where there are none."""

from __future__ import annotations

from pycontain.engine.stats import Row, traffic

NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier
    lo: 5000      50    0    0    0     0          0         0     5000      50    0    0    0     0       0          0
  eth0:  1046      13    0    0    0     0          0         0      306       3    0    0    0     0       0          0
eth1:4294967296 1 0 0 0 0 0 0 8589934592 1 0 0 0 0 0 0
"""


def test_traffic_leaves_the_loopback_out() -> None:
    assert traffic(NET) == (1046 + (1 << 32), 306 + (1 << 33))
    assert traffic("") == (0, 0)


def test_a_row_knows_nothing_at_first() -> None:
    row = Row("4f5e", "web")
    values = row.record()
    assert (values.pop("Id"), values.pop("Name")) == ("4f5e", "web")
    assert set(values.values()) == {None}


def test_percent_of_the_limit() -> None:
    row = Row("4f5e", "web")
    row.memory, row.limit = 50, 200
    assert row.percent == 25.0
    row.limit = None
    assert row.percent is None
