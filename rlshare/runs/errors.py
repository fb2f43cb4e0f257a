"""What the user did wrong, as one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Bad input: printed as one sentence, exit code 2, no traceback."""


@contextmanager
def user_errors(
    context: str = "", errors: tuple[type[Exception], ...] = (ValueError,)
) -> Iterator[None]:
    """Turn the errors of a step that only handles user input into UserErrors.

    Args:
        context: put before the message.
        errors: the exceptions that here mean bad input.
    """
    try:
        yield
    except errors as error:
        sentence = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{context}{sentence}") from error
