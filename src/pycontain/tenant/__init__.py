"""VPS-style guests on containers of the engine: see docs/tenants.md."""
