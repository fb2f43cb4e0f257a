#include "sections.h"

#include <algorithm>
#include <cstring>

#include "bytes.h"

namespace rlshare {
namespace {

constexpr char kMagic[8] = {'R', 'L', 'S', 'H', 'A', 'R', 'E', '\x1a'};
constexpr std::uint32_t kVersion = 3;
constexpr std::size_t kHead = sizeof kMagic + 4, kChecksum = 8;
constexpr std::uint64_t kRequired = 1;

struct Entry {
  char name[16];
  std::uint64_t flags, offset, size;
};
static_assert(sizeof(Entry) == 40, "written without padding");

std::string name_of(const Entry& entry) {
  const char* end = entry.name + sizeof entry.name;
  const char* zero = std::find(entry.name, end, '\0');
  const auto printable = [](char c) { return c > ' ' && c < '\x7f'; };
  if (zero == entry.name || !std::all_of(static_cast<const char*>(entry.name), zero, printable) ||
      !std::all_of(zero, end, [](char c) { return c == '\0'; }))
    corrupt("the name of a section is no name");
  return std::string(static_cast<const char*>(entry.name), zero);
}

}  // namespace

// FNV-1a over 64-bit words (the last one zero-padded), then the length: any change of one word
// changes it.
std::uint64_t checksum(const char* data, std::size_t n) {
  std::uint64_t hash = 14695981039346656037ull;
  for (std::size_t i = 0; i < n; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data + i, n - i < 8 ? n - i : 8);
    hash = (hash ^ word) * 1099511628211ull;
    hash ^= hash >> 32;
  }
  return (hash ^ n) * 1099511628211ull;
}

std::uint32_t checked_version(std::string_view file) {
  if (file.size() < sizeof kMagic || std::memcmp(file.data(), kMagic, sizeof kMagic) != 0)
    corrupt("it does not begin with the rlshare signature");
  if (file.size() < kHead + kChecksum) corrupt("it is truncated");
  std::uint32_t version;
  std::memcpy(&version, file.data() + sizeof kMagic, sizeof version);
  if (version != 2 && version != kVersion)
    corrupt("its version is " + std::to_string(version) + ", this rlshare reads versions 2 and " +
            std::to_string(kVersion));
  const std::size_t body = file.size() - kChecksum;
  std::uint64_t stored;
  std::memcpy(&stored, file.data() + body, sizeof stored);
  if (stored != checksum(file.data(), body))
    corrupt("its checksum is wrong, it is truncated or damaged");
  return version;
}

std::string join_sections(const std::vector<Section>& sections) {
  Writer w;
  w.put(kMagic);
  w.put(kVersion);
  w.put(static_cast<std::uint32_t>(sections.size()));
  std::uint64_t offset = kHead + 4 + sections.size() * sizeof(Entry);
  for (const Section& section : sections) {
    Entry entry = {{}, section.required ? kRequired : 0, offset, section.bytes.size()};
    std::copy_n(section.name.begin(), std::min(section.name.size(), sizeof entry.name), entry.name);
    w.put(entry);
    offset += section.bytes.size();
  }
  w.out.reserve(offset + kChecksum);
  for (const Section& section : sections) w.out += section.bytes;
  w.put(checksum(w.out.data(), w.out.size()));
  return std::move(w.out);
}

std::vector<Section> split_sections(std::string_view file) {
  const std::size_t body = file.size() - kChecksum;
  Reader r(file.substr(kHead, body - kHead));
  const auto n_sections = r.get<std::uint32_t>();
  const std::vector<Entry> table = r.get_all<Entry>(n_sections);
  std::vector<Section> sections;
  std::uint64_t at = kHead + 4 + table.size() * sizeof(Entry);
  for (const Entry& entry : table) {
    const std::string name = name_of(entry);
    if (entry.flags > kRequired) corrupt("the section " + name + " has unknown flags");
    if (entry.offset != at || entry.size > body - at)
      corrupt("the section " + name + " does not lie where it should");
    for (const Section& other : sections)
      if (other.name == name) corrupt("it has two sections " + name);
    sections.push_back({name, entry.flags == kRequired, file.substr(at, entry.size)});
    at += entry.size;
  }
  if (at != body) corrupt("it is longer than its sections");
  return sections;
}

}  // namespace rlshare
