"""The errors that a user of this package can cause.

Every message is a sentence that says what is wrong and what to do about it. The command line prints that sentence and
exits with the class's ``exit_code``; anything that is not a :class:`SpecVQError` is a defect of this package.
"""

__all__ = ["AudioError", "BitstreamError", "SpecVQError", "UsageError", "WeightsError"]


class SpecVQError(Exception):
    """Base of every error that this package raises on purpose.

    ``exit_code`` is the exit status of the command line: 2 for wrong usage, 3 for an input file that cannot be used,
    4 for weights that are missing or are not the ones needed.
    """

    exit_code: int = 3


class UsageError(SpecVQError):
    """Arguments that make no sense, or an output that exists already and was not to be overwritten."""

    exit_code = 2


class AudioError(SpecVQError):
    """A sound file or an array of samples that cannot be used."""

    exit_code = 3


class BitstreamError(SpecVQError):
    """Bytes that are not an ``.svq`` file, or a damaged one, or one that a newer version of this package wrote."""

    exit_code = 3


class WeightsError(SpecVQError):
    """A weight bundle that is missing, damaged, or another than the one that a file needs."""

    exit_code = 4
