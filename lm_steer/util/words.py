"""Numbers as messages and labels write them."""


def number(value: float) -> str:
    """Return a number in short, but with all its digits: 1000001 is not 1e+06."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
