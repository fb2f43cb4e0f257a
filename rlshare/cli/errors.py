"""What the user did wrong, as one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Bad input: printed as one sentence, exit code 2, no traceback."""


@contextmanager
def user_errors(context: str = "", *also: type[Exception]) -> Iterator[None]:
    """Turn the ValueErrors of a step that only handles user input into UserErrors.

    Args:
        context: put before the message.
        also: further exceptions that here mean bad input.
    """
    try:
        yield
    except (ValueError, *also) as error:
        sentence = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{context}{sentence}") from error
