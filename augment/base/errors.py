"""Errors that are shown to the user: a sentence that names the problem and the remedy."""


class AugmentError(Exception):
    """Something is wrong with the environment or the data. The command line exits with 3."""

    exit_code = 3


class UsageError(AugmentError):
    """The request is invalid: a wrong key, a bad value. The command line exits with 2."""

    exit_code = 2
