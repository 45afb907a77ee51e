"""A policy that starts workers before the work comes, where the calendar tells of it.

Theory of operation. The rate that `predictive` staffs for is that of the last minute. Here it is
the one that Holt-Winters foresees for the moment when a worker launched now is ready, as long as
the last minute agrees with what was foreseen for it; then it is steadier, too, for a mean of many
days varies less than a minute does. Where the two differ by more than the noise of a Poisson
process, today is not like other days: the last minute is believed, and of the forecast only the
change that it sees coming.
"""

from dataclasses import replace
from math import exp, sqrt

from builder.scale.policies import Policy, View, Wish, predictive
from builder.scale.seasonal import HoltWinters

FLOW_S = 120.0  # over which the rate of arrivals is smoothed (`Bounds.flow_s`)
DOUBT = 3.0  # standard deviations


def holt_winters(forecast: HoltWinters, wait_s: float = 10.0, flow_s: float = FLOW_S) -> Policy:
    rule = predictive(wait_s=wait_s)
    expected = Smoothed(flow_s)

    def wish(view: View) -> Wish:
        forecast.observe(view.now, view.arrived)
        here, ahead = forecast.rate(view.now), forecast.rate(view.now + view.start_up_s)
        if here is None or ahead is None:
            return rule(view)
        usual = expected.add(view.now, here)
        rate = ahead
        if abs(view.arrival_rate - usual) > DOUBT * sqrt(max(usual, 1 / flow_s) / (2 * flow_s)):
            rate = max(0.0, view.arrival_rate + ahead - here)
        wanted = rule(replace(view, arrival_rate=rate))
        why = f"{ahead:.1f} actions/s foreseen in {view.start_up_s:.0f} s; {wanted.why}"
        return Wish(wanted.workers, why, wanted.urgent)

    return wish


class Smoothed:
    """A forecast as the same smoothing would have seen it that the rate of arrivals goes through.

    Else each change that was foreseen well would look like a surprise for a minute.
    """

    def __init__(self, flow_s: float) -> None:
        self._flow_s = flow_s
        self._value: float | None = None
        self._at = 0.0

    def add(self, now: float, value: float) -> float:
        old = value if self._value is None else self._value
        share = 1 - exp(-max(0.0, now - self._at) / self._flow_s)
        self._value = old + share * (value - old)
        self._at = now
        return self._value
