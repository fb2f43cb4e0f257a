// Numbers and arrays to bytes and back, as they lie in memory.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace rlshare {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file format is written as memory");

// The bytes are not a model; what() says what is wrong with them.
struct CorruptFile : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

[[noreturn]] inline void corrupt(const std::string& why) { throw CorruptFile(why); }

class Writer {
 public:
  template <typename T>
  void put(const T& value) {
    put_all(&value, 1);
  }
  template <typename T>
  void put_all(const T* values, std::size_t n) {
    out.append(reinterpret_cast<const char*>(values), n * sizeof(T));
  }
  std::string out;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  template <typename T>
  T get() {
    T value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }
  template <typename T>
  std::vector<T> get_all(std::uint64_t n) {
    if (n > static_cast<std::size_t>(end_ - at_) / sizeof(T)) corrupt("it is truncated");
    std::vector<T> values(static_cast<std::size_t>(n));
    if (n) std::memcpy(values.data(), take(n * sizeof(T)), n * sizeof(T));
    return values;
  }
  bool at_end() const { return at_ == end_; }

 private:
  const char* take(std::size_t n) {
    if (n > static_cast<std::size_t>(end_ - at_)) corrupt("it is truncated");
    const char* from = at_;
    at_ += n;
    return from;
  }
  const char *at_, *end_;
};

}  // namespace rlshare
