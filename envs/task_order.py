"""Which task comes next in an environment of several; light, for the help of a command."""

from typing import Literal

TaskOrder = Literal["mixed", "alternate"]
