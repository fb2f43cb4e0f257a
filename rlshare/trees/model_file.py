"""What a model file holds besides the trees."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rlshare import _core
from rlshare.trees import checks
from rlshare.trees.categories import Category
from rlshare.trees.params import TreeParams
from rlshare.trees.schedules import Schedule, from_plain, to_plain

Sections = dict[str, bytes]


@dataclass(frozen=True)
class Metadata:
    """The part of a model that is no tree."""

    params: TreeParams
    schedules: tuple[Schedule, ...]
    categories: dict[int, list[Category]]
    n_steps_done: int
    feature_names: tuple[str, ...] | None

    def to_sections(self) -> Sections:
        """Return the metadata as sections of a file, UTF-8 JSON each."""
        plain = {
            "params": asdict(self.params),
            "learning_rate": [to_plain(schedule) for schedule in self.schedules],
            "categories": {str(f): keys for f, keys in self.categories.items()},
            "n_steps_done": self.n_steps_done,
        }
        sections = {"metadata": json.dumps(plain).encode()}
        if self.feature_names is not None:
            sections["feature_names"] = json.dumps(self.feature_names).encode()
        return sections

    @classmethod
    def from_sections(cls, sections: Sections, forest: _core.Forest) -> Metadata:
        """Undo :meth:`to_sections`.

        Raises:
            ValueError: where a section is damaged or does not belong to the forest.
        """
        try:
            plain = json.loads(sections["metadata"])
            names = json.loads(sections.get("feature_names", b"null"))
            metadata = cls(
                TreeParams(**plain["params"]),
                tuple(from_plain(rate) for rate in plain["learning_rate"]),
                {int(f): keys for f, keys in plain["categories"].items()},
                plain["n_steps_done"],
                checks.feature_names(names, forest.n_features),
            )
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"its metadata is damaged: {error!r}") from error
        checks.shape(metadata.params, forest.n_features, forest.n_outputs)
        if not metadata._fits(forest):
            raise ValueError("its metadata does not fit its trees")
        return metadata

    def _fits(self, forest: _core.Forest) -> bool:
        categorical = [f for f, flag in enumerate(forest.categorical) if flag]
        return (
            list(self.params.categorical or ()) == categorical
            and list(self.categories) == categorical
            and all(_are_categories(keys) for keys in self.categories.values())
            and forest.categories_fit(
                [len(self.categories.get(f, ())) for f in range(forest.n_features)]
            )
            and (self.params.grow_policy == "greedy") == forest.greedy
            and len(self.schedules) == forest.n_outputs
            and type(self.n_steps_done) is int
            and self.n_steps_done >= 0
        )


def _are_categories(keys: object) -> bool:
    if not isinstance(keys, list) or not all(type(key) in (str, int) for key in keys):
        return False
    return len(set(keys)) == len(keys)
