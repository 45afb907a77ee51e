"""The pool's size: load in, launches and retirements out; no I/O, no clock."""
