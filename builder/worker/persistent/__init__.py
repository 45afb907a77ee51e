"""Programs that stay for many actions: Bazel's persistent workers, in the sandbox."""
