"""What the episodes of an evaluation ended with."""

from typing import Any


class LastInfos:
    """Callback of SB3's ``evaluate_policy`` that keeps the info of each episode's last step."""

    def __init__(self) -> None:
        self._infos: list[dict[str, Any]] = []

    def __call__(self, locals_: dict[str, Any], globals_: dict[str, Any]) -> None:
        """Keep the info if the episode ends here."""
        if locals_["done"]:
            self._infos.append(locals_["info"])

    def values(self, key: str) -> list[Any]:
        """Return what the episodes say under a key; empty where any of them does not."""
        found = [info[key] for info in self._infos if key in info]
        return found if len(found) == len(self._infos) else []
