"""The OCI runtime's verbs."""
