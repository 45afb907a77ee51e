"""The worker pool's program: keeps it at its size."""
