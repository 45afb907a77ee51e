"""Builds that clients tell of: what their events say, kept within bounds."""
