"""Builder: remote build execution, a sandboxed worker pool and a build client in one file."""
