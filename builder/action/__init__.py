"""From a target to REAPI messages and back: commands, input roots, results."""
