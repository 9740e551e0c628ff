"""Bridge, veth, addresses, nftables, ports."""
