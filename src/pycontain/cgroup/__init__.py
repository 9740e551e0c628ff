"""cgroup v2: where a container lives, its limits, its figures, its device filter."""
