"""This machine: what it is, what it can isolate and limit."""
