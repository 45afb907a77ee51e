"""The ground floor: digests, errors, units, clocks, documents; no I/O."""
