"""Blob stores and action caches: one interface, many one-file ways."""
