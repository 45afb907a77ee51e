"""Trio outside, wire inside: gRPC servers and channels."""
