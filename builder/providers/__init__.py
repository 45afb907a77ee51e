"""Where workers come from: one interface, one module per way."""
