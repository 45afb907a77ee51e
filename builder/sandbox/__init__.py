"""Running one action in isolation: a spec in, an exit out."""
