// A file as named sections, checksummed as a whole.
//
// Layout (all integers unsigned, little-endian; no padding):
//   magic       8 bytes  "RLSHARE\x1a"
//   version     u32      3
//   n_sections  u32
//   table       n_sections times
//     name      16 bytes ASCII, filled up with zeros, each name once
//     flags     u64      bit 0: a reader that does not know the section must refuse the file
//     offset    u64      from the file's first byte; a section begins where the one before it ends,
//     size      u64      the first behind the table, and the last ends where the checksum begins
//   sections
//   checksum    u64 of all bytes before it (see checksum())
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rlshare {

struct Section {
  std::string name;
  bool required;
  std::string_view bytes;
};

std::uint64_t checksum(const char* data, std::size_t n);

// The version of the file. Throws CorruptFile for a foreign file, or where the checksum of one of
// our versions, 2 or 3, is wrong.
std::uint32_t checked_version(std::string_view file);

std::string join_sections(const std::vector<Section>& sections);
// Of a file of version 3, which must outlive them. Throws CorruptFile.
std::vector<Section> split_sections(std::string_view file);

}  // namespace rlshare
