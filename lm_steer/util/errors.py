"""The exception whose message is for users: it says what was found and what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager


def presentable(text: str) -> str:
    """Return a message without the credentials in its URLs, with control characters escaped and very long words cut.

    `https://name:word@host/` becomes `https://host/`; line breaks stay.
    """
    text = re.sub(r" at 0x[0-9a-f]{6,}>", ">", re.sub(r"(\S{200})\S{400,}", r"\1…", text))
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda match: f"\\x{ord(match[0]):02x}", text)
    credentials = r"(?<=//|:/)[^/\s]*@|(?<![^\s/:@'\"])[^\s/:@'\"]+:[^\s/@]+@"
    return re.sub(credentials, "", text) if "@" in text else text


def reason_of(error: BaseException | None) -> str:
    """Return why a transfer failed: the operating system's message, without what libraries wrap around it."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    system, host = re.search(r"\[Errno -?\d+\] ([^\"'()]+)", lines[0]), re.search(r"host='([^']+)'", lines[0])
    return (f"{host[1]}: " if host else "") + system[1].strip() if system else lines[0]


class LMSteerError(Exception):
    """Bad input or a failed service. The command line prints only the message, without a traceback."""

    def __init__(self, message: str) -> None:
        # Indented lines list the problems of a config; any other line break comes from a name or a text.
        super().__init__(presentable(re.sub(r"\n(?!  )", r"\\n", message)))


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a failed import in the block into LMSteerError naming the extra of this package to install.

    with needs("report"):
        import matplotlib
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = str(error.name).partition(".")[0]
        raise LMSteerError(f"{name} is not installed: pip install 'lm-steer[{extra}]'") from error
