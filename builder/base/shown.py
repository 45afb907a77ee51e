"""Durations as people read them. It imports nothing, because the quickest answer needs it."""


def format_duration(seconds: float) -> str:
    """Short and rounded: `45ms`, `1.2s`, `5m 32s`, `2h 5m`, `3d 4h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes}m"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours}h"


def ago(seconds: float) -> str:
    """One unit is enough: `12s`, `2m`, `3h`, `4d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def hit(target: str, age_s: float | None) -> str:
    """`age_s`: since the result was made; None when that is not known."""
    stored = "" if age_s is None else f" (stored {ago(age_s)} ago)"
    return f"Cache hit: {target}{stored}"
