"""Numbers of a run in words."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def metric_text(metric: str, value: float, digits: int = 4) -> str:
    """Write a metric's value with its unit: accuracies are in percent."""
    return f"{value:.{digits}f}{' %' if metric.endswith('accuracy') else ''}"


def loss_text(value: float) -> str:
    """Write a loss in four decimals, or in four digits where these would say little or be many."""
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 10_000 else f"{value:.4g}"


def duration_text(seconds: float) -> str:
    """Write a duration by its two largest units: `4.2 s`, `3 min 5 s`, `1 h 12 min`."""
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
    )


def age_text(seconds: float) -> str:
    """Write how long ago something was by its largest unit: `45 s`, `12 min`, `5 h`, `3 d`."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{max(seconds, 0):.0f} s"  # clocks of two machines may disagree
