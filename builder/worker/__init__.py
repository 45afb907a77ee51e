"""The worker's program: leases in, results out."""
