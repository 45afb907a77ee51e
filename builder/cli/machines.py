"""`--machine type=c7i.xlarge,hour=0.20,spot_hour=0.08,slots=4`: what a simulated pool may buy."""

from builder.base.errors import UsageError
from builder.base.nearest import nearest
from builder.base.units import parse_duration
from builder.scale.market import Price
from builder.scale.vendor import BUYERS, Buyer, Offer

KEYS = ("type", "place", "hour", "spot_hour", "slots", "start_up", "interruptions", "most")
START_UP = "40s"


def offers(said: tuple[str, ...]) -> list[Offer]:
    """Raises UsageError."""
    found = [_offer(text) for text in said]
    goods = [(one.kind, one.place) for one in found]
    for number, one in enumerate(goods):
        if one in goods[:number]:
            raise UsageError(
                f"--machine {said[number]}: there is one of that type and place already"
            )
    return found


def buyers(said: tuple[str, ...]) -> dict[str, Buyer]:
    """By their names; all, if none is said. Raises UsageError."""
    for name in said:
        if name not in BUYERS:
            meant = nearest(name, BUYERS)
            hint = f"did you mean {meant!r}?" if meant else f"there is {'; '.join(BUYERS)}"
            raise UsageError(f"--buy {name}: {hint}")
    return {name: BUYERS[name] for name in said or BUYERS}


def _offer(text: str) -> Offer:
    values: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if key not in KEYS or not equals or key in values:
            raise UsageError(f"--machine {text}: write KEY=VALUE once each of {', '.join(KEYS)}")
        values[key] = value
    if "type" not in values or "hour" not in values:
        raise UsageError(f"--machine {text}: it needs a type and what an hour of it costs")
    try:
        price = Price(
            hour=_number(values["hour"]),
            spot_hour=_number(values["spot_hour"]) if "spot_hour" in values else None,
            slots=_count(values.get("slots", "1")),
            start_up_s=parse_duration(values.get("start_up", START_UP)),
        )
        most = _count(values["most"]) if "most" in values else None
        often = _number(values.get("interruptions", "0.05"))
    except UsageError as error:
        raise UsageError(f"--machine {text}: {error}") from None
    return Offer(values["type"], price, values.get("place", ""), often, most)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"{text!r} is not a number from 0 on")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{text!r} is not a whole number from 1 on")
    return int(text)
