"""The one exception that is meant for people: its message says what was found and what to do."""


class LMSteerError(Exception):
    """Bad input or a failed service. The command line prints the message alone, without a traceback."""
