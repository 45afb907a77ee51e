"""`python -m builder`: the command line."""

from builder.cli.start import main

main()
