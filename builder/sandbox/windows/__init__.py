"""Actions on Windows: job objects and restricted tokens."""
