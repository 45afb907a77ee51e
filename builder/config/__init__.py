"""Settings: frozen dataclasses filled from a validated document."""
