"""Model files taken apart and put together by hand: what `cpp/trees/sections.h` documents."""

from __future__ import annotations

import struct
from typing import NamedTuple

from rlshare import _core

MAGIC = b"RLSHARE\x1a"
COUNTS = struct.calcsize("<3I3Q")  # at the beginning of a forest
REQUIRED, OPTIONAL = 1, 0


class Section(NamedTuple):
    name: str
    flags: int
    data: bytes


def with_checksum(body: bytes) -> bytes:
    return body + struct.pack("<Q", _core.checksum(body))


def split(file: bytes) -> list[Section]:
    """The sections of a file of version 3."""
    (n,) = struct.unpack_from("<I", file, 12)
    entries = [struct.unpack_from("<16s3Q", file, 16 + 40 * k) for k in range(n)]
    return [
        Section(name.rstrip(b"\0").decode("ascii"), flags, file[offset : offset + size])
        for name, flags, offset, size in entries
    ]


def join(sections: list[Section]) -> bytes:
    """Undo `split`."""
    table, data = b"", b""
    begin = 16 + 40 * len(sections)
    for name, flags, part in sections:
        table += struct.pack("<16s3Q", name.encode(), flags, begin + len(data), len(part))
        data += part
    return with_checksum(MAGIC + struct.pack("<2I", 3, len(sections)) + table + data)


def version_2(file: bytes) -> bytes:
    """A file of version 3 as version 2 would have it, without what that had no room for."""
    parts = {section.name: section.data for section in split(file)}
    counts, arrays = parts["forest"][:COUNTS], parts["forest"][COUNTS:]
    metadata = parts["metadata"]
    head = MAGIC + struct.pack("<I", 2) + counts + struct.pack("<Q", len(metadata))
    return with_checksum(head + arrays + metadata)
