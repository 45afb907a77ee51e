"""The Builderfile and its graph: what to build, in which order."""
