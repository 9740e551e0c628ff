"""OCI spec to launch plan; starting the helper; the errors it reports."""
