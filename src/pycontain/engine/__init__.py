"""Containers by name: run, stop, exec, logs, list."""
