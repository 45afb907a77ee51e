"""The scheduler's pure machine: events in, effects out."""
