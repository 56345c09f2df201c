"""What the user is told when something is wrong: one sentence that names the thing and the remedy."""


class AugmentError(Exception):
    """The environment or the data is not as it has to be. The command line exits with 3."""

    exit_code = 3


class UsageError(AugmentError):
    """What was asked for makes no sense: a wrong key, a bad value. The command line exits with 2."""

    exit_code = 2
