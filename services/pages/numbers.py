"""How the pages write numbers and ages: as a person says them, never as a float is printed.

A figure's name says its unit (docs/monitoring.md), so `tell` needs no other word.
"""

from datetime import datetime, timedelta

from monitoring import words

UNKNOWN = "–"
POINTS = ("drop", "calibration_in_the_large", "ood_gain")  # differences of shares
SHARES = ("share", "rate", "coverage", "cbpe", "overconfidence", "ece", "called_right", "called_wrong", "as_good")
_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_LETTERS = {"G": "B"}  # money counts in billions


def percent(value: float | None) -> str:
    """A share of 1 in percent.

    >>> percent(0.3321), percent(-0.05), percent(None)
    ('33.2 %', '−5.0 %', '–')
    """
    return UNKNOWN if value is None else words.to_tenths(value)


def short(value: str | None) -> str:
    """The start of a long id.

    >>> short("0123456789abcdef"), short(None)
    ('01234567', '–')
    """
    return UNKNOWN if value is None else words.short(value)


def points(value: float | None) -> str:
    """A difference of two shares.

    >>> points(0.018), points(-0.0004)
    ('1.8 points', '0.0 points')
    """
    return UNKNOWN if value is None else f"{words.points(value, digits=1)} points"


def signal(value: float | None) -> str:
    """A signal, with as many places as its neighbours have.

    >>> signal(0.66), signal(0.00192), signal(None)
    ('0.6600', '0.0019', '–')
    """
    return UNKNOWN if value is None else _minus(f"{value:.4f}")


def usd(value: float | None) -> str:
    """An amount of money, with as many digits as one acts on.

    >>> usd(1412.0), usd(412.3), usd(7.5), usd(0.0231), usd(-3.0), usd(0.0)
    ('$1.4k', '$412', '$7.50', '$0.023', '−$3.00', '$0')
    """
    if value is None:
        return UNKNOWN
    size = abs(value)
    if size >= 1000:
        text = _scaled(size, _LETTERS)
    elif size >= 100:
        text = f"{size:.0f}"
    elif size >= 1:
        text = f"{size:.2f}"
    else:
        text = _significant(size, digits=2)
    return f"{'−' if value < 0 else ''}${text}"


def milliseconds(value: float | None) -> str:
    """A time that something took, given in ms.

    >>> milliseconds(12.3), milliseconds(0.42), milliseconds(2340.0), milliseconds(95000.0)
    ('12 ms', '0.42 ms', '2.3 s', '95 s')
    """
    if value is None:
        return UNKNOWN
    if value >= 1000:
        return f"{value / 1000:.1f} s" if value < 9950 else f"{value / 1000:.0f} s"
    return f"{value:.0f} ms" if value >= 9.95 else f"{_significant(value)} ms"


def count(value: float | None) -> str:
    """How many.

    >>> count(1204), count(0)
    ('1,204', '0')
    """
    return UNKNOWN if value is None else _minus(f"{value:,.0f}")


def byte_size(value: int | None) -> str:
    """How much room something takes.

    >>> byte_size(0), byte_size(2048), byte_size(5_300_000)
    ('0 B', '2.0 kB', '5.3 MB')
    """
    if value is None:
        return UNKNOWN
    return f"{_scaled(value, {'k': ' k', 'M': ' M', 'G': ' G', 'T': ' T'})}{'' if value >= 999.5 else ' '}B"


def amount(value: float | None) -> str:
    """A number of no unit that is known here.

    >>> amount(0.8731), amount(123456.0), amount(10e9), amount(3.0), amount(1e-6)
    ('0.873', '123k', '10.0G', '3', '0.000001')
    """
    if value is None:
        return UNKNOWN
    sign = "−" if value < 0 else ""
    size = abs(value)
    if size >= 10_000:
        return sign + _scaled(size, {})
    if size >= 1000:
        return f"{sign}{size:,.0f}"
    return sign + (f"{size:.0f}" if float(size).is_integer() else _significant(size))


def tell(name: str, value: float | None) -> str:
    """The figure of this name as a person reads it.

    >>> tell("drop", 0.0123), tell("savings_usd", -0.051), tell("queries", 12345.0)
    ('1.2 points', '−5.1 %', '12,345')
    """
    base = name.partition(".")[0]
    if base in POINTS:
        return points(value)
    if is_share(name):
        return percent(value)
    if base.endswith("_usd"):
        return usd(value)
    if base.endswith("_ms"):
        return milliseconds(value)
    if base in ("queries", "uncertified_queries", "late_decisions", "cut_runs") or base.startswith("labels_"):
        return count(value)
    if base.endswith(("_gflops", "_tokens")):
        return f"{amount(value)} {'GFLOPs' if base.endswith('_gflops') else 'tokens'}"
    return amount(value)


def tick(name: str, value: float) -> str:
    """A mark of an axis of this figure: short, its unit said by the chart's title where it is long.

    >>> tick("drop", 0.025), tick("latency_ms", 1500.0), tick("queries", 2000.0)
    ('2.5', '1.5 s', '2,000')
    """
    if name.partition(".")[0] in POINTS:
        return _minus(f"{100 * value:.4g}")
    return _minus(f"{100 * value:.4g} %") if is_share(name) else tell(name, value)


def unit(name: str) -> str:
    """What the marks of an axis of this figure leave unsaid.

    >>> unit("drop"), unit("savings_usd")
    (', in points', '')
    """
    return ", in points" if name.partition(".")[0] in POINTS else ""


def is_share(name: str) -> bool:
    """Whether the figure of this name is a share of 1, or a difference of two."""
    base = name.partition(".")[0]
    return base in POINTS or base.endswith(SHARES) or base.startswith(("savings", "accuracy"))


def between(name: str, low: float | None, high: float | None) -> str:
    """An interval, its unit written once.

    >>> between("drop", 0.004, 0.019), between("latency_ms", 90, 1200), between("drop", None, 0.1)
    ('0.4 – 1.9', '90 ms – 1.2 s', '')
    >>> between("saved_usd", 2186.0, 2233.0)
    '$2,186 – $2,233'
    """
    if low is None or high is None:
        return ""
    if is_share(name):
        return f"{words.points(low, digits=1)} – {words.points(high, digits=1)}"
    if tell(name, low) == tell(name, high) and min(low, high) >= 1000 and name.partition(".")[0].endswith("_usd"):
        return f"${low:,.0f} – ${high:,.0f}"  # $2.2k – $2.2k would say nothing
    return f"{tell(name, low)} – {tell(name, high)}"


def age(at: datetime, now: datetime) -> str:
    """How long ago, or until when; both aware.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 3, 10, 12, tzinfo=UTC)
    >>> [age(noon - timedelta(minutes=minutes), noon) for minutes in (12, 0, -300)]
    ['12 min ago', 'just now', 'in 5 h']
    """
    past = now - at
    if timedelta(seconds=-30) < past < timedelta(seconds=30):
        return "just now"
    return f"{span(past)} ago" if past > timedelta() else f"in {span(-past)}"


def span(length: timedelta) -> str:
    """A length of time in its largest unit.

    >>> span(timedelta(seconds=45)), span(timedelta(hours=47)), span(timedelta(days=400))
    ('45 s', '47 h', '13 months')
    """
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds // 3600:.0f} h"
    days = seconds / 86400
    return f"{days:.0f} d" if days < 90 else f"{days / 30.44:.0f} months"


def _scaled(size: float, letters: dict[str, str]) -> str:
    for step, letter in _STEPS:
        if size >= step * 0.9995:
            part = size / step
            text = f"{part:.1f}" if part < 99.95 else f"{part:.0f}"
            return text + letters.get(letter, letter)
    return f"{size:.0f}"


def _significant(size: float, *, digits: int = 3) -> str:
    """Up to so many digits that count, without an exponent, and what is next to nothing as 0."""
    if size < 1e-6:
        return "0"
    text = f"{float(f'{size:.{digits}g}'):.8f}"
    return text.rstrip("0").rstrip(".")


def _minus(text: str) -> str:
    return text.replace("-", "−")
