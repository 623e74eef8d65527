// SPDX-License-Identifier: Apache-2.0
// SHA-256 of many files at once, printed as sha256sum does: what `sha256sum -c` checks.
//
//   file_hash [--at-a-time N] FILE...
//
// A fiber for each file, at most N (16) of them beside each other; each parks while its file is read from the device,
// and the hashing of the others goes on. Lines come in the order of the arguments. Exit status: 0, or 1 if a file could
// not be read (the others are hashed all the same), or 2 if the arguments make no sense.
#include <weft/file.hpp>
#include <weft/weft.hpp>

#include <openssl/evp.h>

#include <charconv>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

constexpr std::size_t chunk = std::size_t{128} << 10;

class sha256 {
 public:
  sha256() { check(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr)); }
  void add(std::span<const std::byte> data) { check(EVP_DigestUpdate(context_.get(), data.data(), data.size())); }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    check(EVP_DigestFinal_ex(context_.get(), digest, &size));
    std::string text;
    for (unsigned i = 0; i < size; ++i) {
      char two[3];
      std::snprintf(two, sizeof two, "%02x", digest[i]);
      text += two;
    }
    return text;
  }

 private:
  static void check(int result) {
    if (result != 1) throw std::runtime_error("OpenSSL has no SHA-256");
  }
  struct free_context {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, free_context> context_{EVP_MD_CTX_new()};
};

std::string hash_of(const std::string& path) {
  auto f = weft::file::open(path, O_RDONLY);
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(chunk);
  weft::file_stream content(f);
  sha256 hash;
  while (const std::size_t n = content.read_some(std::span(buffer.get(), chunk)))
    hash.add(std::span<const std::byte>(buffer.get(), n));
  return hash.hex();
}

// As sha256sum: a line with a newline or a backslash in the name begins with one, and has them escaped.
std::string line_of(const std::string& hash, const std::string& path) {
  std::string name;
  for (const char c : path) {
    if (c == '\\')
      name += "\\\\";
    else if (c == '\n')
      name += "\\n";
    else if (c == '\r')
      name += "\\r";
    else
      name += c;
  }
  return (name != path ? "\\" : "") + hash + "  " + name + "\n";
}

int hash_all(const std::vector<std::string>& paths, std::size_t at_a_time) {
  std::vector<std::string> lines(paths.size());
  std::vector<std::string> complaints(paths.size());
  weft::scope s({.limit = at_a_time});
  for (std::size_t i = 0; i < paths.size(); ++i)
    s.go([&, i] {
      try {
        lines[i] = line_of(hash_of(paths[i]), paths[i]);
      } catch (const std::system_error& error) {
        complaints[i] = error.what();
      }
    });
  s.join();
  int status = 0;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    std::fputs(lines[i].c_str(), stdout);
    if (complaints[i].empty()) continue;
    std::fprintf(stderr, "file_hash: %s\n", complaints[i].c_str());
    status = 1;
  }
  return std::fflush(stdout) == 0 ? status : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t at_a_time = 16;
  std::vector<std::string> paths(argv + 1, argv + argc);
  if (paths.size() >= 2 && paths[0] == "--at-a-time") {
    const std::string& n = paths[1];
    const auto [end, error] = std::from_chars(n.data(), n.data() + n.size(), at_a_time);
    if (error != std::errc{} || end != n.data() + n.size() || at_a_time == 0 || at_a_time > 10'000) {
      std::fprintf(stderr, "file_hash: --at-a-time takes a whole number from 1 to 10000, not '%s'\n", n.c_str());
      return 2;
    }
    paths.erase(paths.begin(), paths.begin() + 2);
  }
  if (paths.empty()) {
    std::fputs("usage: file_hash [--at-a-time N] FILE...\n", stderr);
    return 2;
  }
  return weft::run([&] { return hash_all(paths, at_a_time); });
}
