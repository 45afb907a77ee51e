"""The build client's program: a graph in, outputs out."""
