"""What holds for every test."""

import signal

from hypothesis import HealthCheck, settings

# A shell starts background jobs with Ctrl-C ignored, and every child inherits that. The tests
# send it to programs, and mean what a person at a terminal means.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No example has a time to keep, on a busy machine either, and two runs of the same code agree.
# `--hypothesis-profile=explore` looks further than the gate does.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("gate", settings.get_profile("explore"), derandomize=True)
settings.load_profile("gate")
