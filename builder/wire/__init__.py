"""Bytes to values and back: sans-io HTTP/2 and gRPC framing."""
