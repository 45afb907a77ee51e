"""Container images as roots: pulled or read, verified, unpacked once, kept."""
