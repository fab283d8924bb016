"""The one exception that is meant for people: its message says what was found and what to do."""

import re


def without_passwords(text: str) -> str:
    """Return a message without the credentials of its URLs: `https://name:word@host/` becomes `https://host/`."""
    return re.sub(r"(?<=://)[^/\s]*@", "", text)


class LMSteerError(Exception):
    """Bad input or a failed service. The command line prints the message alone, without a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(without_passwords(message))
