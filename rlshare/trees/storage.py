"""Copies of a model, and files of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from rlshare import _core
from rlshare.files import write_atomically
from rlshare.trees import checks
from rlshare.trees.linear import LinearPart
from rlshare.trees.model_file import Metadata
from rlshare.trees.refitting import Sample
from rlshare.trees.schedules import LearningRate, as_schedules


@dataclass(frozen=True)
class Parts:
    """All that a model is."""

    forest: _core.Forest
    metadata: Metadata
    n_threads: int | None
    sample: Sample | None  # of the rows that a forest which is refitted was drawn from
    linear: LinearPart | None = None


class Stored:
    """A model that can be copied, pickled, saved and loaded, given its parts."""

    def _parts(self) -> Parts:
        """Return the parts of this model, not copied."""
        raise NotImplementedError

    def _set_parts(self, parts: Parts) -> None:
        """Become the model of these parts."""
        raise NotImplementedError

    @classmethod
    def _of(cls, parts: Parts) -> Self:
        """Return the model of these parts."""
        model = cls.__new__(cls)
        model._set_parts(parts)
        return model

    def copy(self) -> Self:
        """Return an independent copy."""
        parts = self._parts()
        return self._of(replace(parts, forest=_core.Forest(parts.forest)))

    def __copy__(self) -> Self:
        """Return an independent copy."""
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return an independent copy."""
        return self.copy()

    def to_bytes(self) -> bytes:
        """Return the model in the file format of :meth:`save`."""
        parts = self._parts()
        sections = parts.metadata.to_sections()
        for part in (parts.sample, parts.linear):
            sections |= {} if part is None else part.to_sections()
        return parts.forest.to_bytes(sections)

    @classmethod
    def from_bytes(
        cls, data: bytes, learning_rate: LearningRate | None = None, n_threads: int | None = None
    ) -> Self:
        """Undo :meth:`to_bytes`; see :meth:`load`."""
        try:
            forest, sections = _core.Forest.from_bytes(data)
            metadata = Metadata.from_sections(sections, forest)
            sample = Sample.from_sections(sections, forest.n_features)
            linear = LinearPart.from_sections(sections, forest)
            checks.linear(linear is not None, metadata.params)
        except ValueError as error:
            raise ValueError(f"not a valid rlshare model file: {error}") from error
        if learning_rate is not None:
            schedules = as_schedules(learning_rate, forest.n_outputs)
            metadata = replace(metadata, schedules=schedules)
        return cls._of(Parts(forest, metadata, n_threads, sample, linear))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file, whole or not at all.

        A callable learning rate is not saved: pass it to :meth:`load` again to train on.

        Raises:
            OSError: where the file cannot be written; a file of that name stays as it was.
        """
        write_atomically(Path(path), self.to_bytes())

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        learning_rate: LearningRate | None = None,
        n_threads: int | None = None,
    ) -> Self:
        """Read a model written by :meth:`save`.

        Args:
            path: the file.
            learning_rate: replaces the saved rates; needed to train on where one was a callable.
            n_threads: as in the constructor.

        Raises:
            OSError: where the file cannot be read.
            ValueError: where it is truncated, corrupt or no rlshare model.
        """
        return cls.from_bytes(Path(path).read_bytes(), learning_rate, n_threads)

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickle keeps; callables stay, where they pickle."""
        parts = self._parts()
        return {
            "bytes": self.to_bytes(),
            "schedules": parts.metadata.schedules,
            "n_threads": parts.n_threads,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Undo :meth:`__getstate__`."""
        parts = type(self).from_bytes(state["bytes"], n_threads=state["n_threads"])._parts()
        metadata = replace(parts.metadata, schedules=state["schedules"])
        self._set_parts(replace(parts, metadata=metadata))
