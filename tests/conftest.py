"""What holds for every test."""

import signal

# A shell starts background jobs with Ctrl-C ignored, and every child inherits that. The tests
# send it to programs, and mean what a person at a terminal means.
signal.signal(signal.SIGINT, signal.default_int_handler)
