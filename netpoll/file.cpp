// SPDX-License-Identifier: Apache-2.0
// weft::file: the two forms of each call. What they do stands in netpoll/open_file.hpp.
#include <weft/file.hpp>

#include <cerrno>
#include <string>

#include "netpoll/address.hpp"
#include "netpoll/failure.hpp"
#include "netpoll/open.hpp"
#include "netpoll/open_file.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

const char* cure_of(int error) noexcept {
  switch (error) {
    case EBADF:
      return ": it is not open, or only as a name (O_PATH)";
    case ESPIPE:
      return ": it cannot be read at an offset (expected a regular file or a block device; weft::net::fd is for pipes, "
             "sockets, terminals and the like)";
    case EISDIR:
      return ": it is a directory (expected a regular file or a block device)";
    default:
      return "";
  }
}

}  // namespace

file file::open(std::string_view path, int flags, mode_t mode) {
  need_runtime("opening a file");
  return file(or_throw([&](const failure& why) { raise_for_file(why, "open", quoted(path)); },
                       [&](failure& why) { return open_path(path, flags, mode, why); }));
}

file file::open(std::string_view path, int flags, mode_t mode, std::error_code& error) {
  need_runtime("opening a file");
  return file(or_code(error, [&](failure& why) { return open_path(path, flags, mode, why); }));
}

file::file(net::from_fd_t, int number) {
  need_runtime("adopting a file");
  f_ = or_throw(
      [&](const failure& why) {
        raise_for_file(why, "from_fd", "descriptor " + std::to_string(number) + cure_of(why.error));
      },
      [&](failure& why) { return adopt_file(number, why); });
}

file::file(net::from_fd_t, int number, std::error_code& error) {
  need_runtime("adopting a file");
  f_ = or_code(error, [&](failure& why) { return adopt_file(number, why); });
}

std::size_t file::read_at(std::uint64_t offset, std::span<std::byte> to) {
  return or_throw(file_failed_to{"read from", f_}, [&](failure& why) { return read_file_at(f_, offset, to, why); });
}

std::size_t file::read_at(std::uint64_t offset, std::span<std::byte> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return read_file_at(f_, offset, to, why); });
}

std::size_t file::readv_at(std::uint64_t offset, std::span<const std::span<std::byte>> to) {
  return or_throw(file_failed_to{"read from", f_}, [&](failure& why) { return read_file_at(f_, offset, to, why); });
}

std::size_t file::readv_at(std::uint64_t offset, std::span<const std::span<std::byte>> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return read_file_at(f_, offset, to, why); });
}

std::size_t file::write_at(std::uint64_t offset, std::span<const std::byte> from) {
  return or_throw(file_failed_to{"write to", f_}, [&](failure& why) { return write_file_at(f_, offset, from, why); });
}

std::size_t file::write_at(std::uint64_t offset, std::span<const std::byte> from, std::error_code& error) {
  return or_code(error, [&](failure& why) { return write_file_at(f_, offset, from, why); });
}

std::size_t file::writev_at(std::uint64_t offset, std::span<const std::span<const std::byte>> from) {
  return or_throw(file_failed_to{"write to", f_}, [&](failure& why) { return write_file_at(f_, offset, from, why); });
}

std::size_t file::writev_at(std::uint64_t offset, std::span<const std::span<const std::byte>> from,
                            std::error_code& error) {
  return or_code(error, [&](failure& why) { return write_file_at(f_, offset, from, why); });
}

void file::fsync() {
  if (const failure why = sync_file(f_, file_action::sync)) [[unlikely]]
    file_failed_to{"fsync of", f_}(why);
}

void file::fsync(std::error_code& error) { error = to_code(sync_file(f_, file_action::sync)); }

void file::datasync() {
  if (const failure why = sync_file(f_, file_action::sync_data)) [[unlikely]]
    file_failed_to{"datasync of", f_}(why);
}

void file::datasync(std::error_code& error) { error = to_code(sync_file(f_, file_action::sync_data)); }

std::uint64_t file::size() const {
  return or_throw(file_failed_to{"size of", f_}, [&](failure& why) { return size_of_file(f_, why); });
}

std::uint64_t file::size(std::error_code& error) const {
  return or_code(error, [&](failure& why) { return size_of_file(f_, why); });
}

void file::truncate(std::uint64_t size) {
  if (const failure why = truncate_file(f_, size)) [[unlikely]]
    file_failed_to{"truncate", f_}(why);
}

void file::truncate(std::uint64_t size, std::error_code& error) { error = to_code(truncate_file(f_, size)); }

void file::allocate(std::uint64_t offset, std::uint64_t length) {
  if (const failure why = allocate_in_file(f_, offset, length)) [[unlikely]]
    file_failed_to{"allocate in", f_}(why);
}

void file::allocate(std::uint64_t offset, std::uint64_t length, std::error_code& error) {
  error = to_code(allocate_in_file(f_, offset, length));
}

void file::close() noexcept {
  if (f_ != nullptr) close_file(*f_);
}

int file::release() noexcept { return f_ != nullptr ? detach_file(*f_) : -1; }

void file::give_back() noexcept {
  destroy_file(f_);
  f_ = nullptr;
}

int file::native_handle() const noexcept {
  if (f_ == nullptr || !f_->gate.hold()) return -1;
  const int fd = f_->fd;
  f_->gate.drop();
  return fd;
}

}  // namespace v0
}  // namespace weft
