"""Thin, typed access to what the kernel offers: one small module a subject."""
