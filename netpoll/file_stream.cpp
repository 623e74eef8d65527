// SPDX-License-Identifier: Apache-2.0
#include <weft/file/stream.hpp>

#include <cerrno>
#include <mutex>

#include "netpoll/failure.hpp"
#include "netpoll/open_file.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

namespace {

/// One operation from `position`, which moves on by what it has moved.
template <class Move>
std::size_t in_turn(mutex& turn, std::uint64_t& position, Move move) noexcept {
  const std::lock_guard held(turn);
  const std::size_t moved = move(position);
  position += moved;
  return moved;
}

void needs_all(std::size_t got, std::size_t wanted, failure& why) noexcept {
  if (!why && got < wanted) why.error = ECONNABORTED;
}

file_failed_to failed_reading(const file& f) noexcept { return {"read from", file_access::of(f)}; }
file_failed_to failed_writing(const file& f) noexcept { return {"write to", file_access::of(f)}; }

}  // namespace

// `Pieces`: one span of bytes, or a span of them.
template <class Pieces>
std::size_t file_stream::read(Pieces to, failure& why) noexcept {
  return in_turn(turn_, position_, [&](std::uint64_t at) { return read_file_at(file_access::of(file_), at, to, why); });
}

template <class Pieces>
std::size_t file_stream::write(Pieces from, failure& why) noexcept {
  return in_turn(turn_, position_,
                 [&](std::uint64_t at) { return write_file_at(file_access::of(file_), at, from, why); });
}

std::size_t file_stream::read_some(std::span<std::byte> to) {
  return or_throw(failed_reading(file_), [&](failure& why) { return read(to, why); });
}

std::size_t file_stream::read_some(std::span<std::byte> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return read(to, why); });
}

std::size_t file_stream::read_exactly(std::span<std::byte> to) {
  return or_throw(failed_reading(file_), [&](failure& why) {
    const std::size_t got = read(to, why);
    needs_all(got, to.size(), why);
    return got;
  });
}

std::size_t file_stream::read_exactly(std::span<std::byte> to, std::error_code& error) {
  return or_code(error, [&](failure& why) {
    const std::size_t got = read(to, why);
    needs_all(got, to.size(), why);
    return got;
  });
}

std::size_t file_stream::readv(std::span<const std::span<std::byte>> to) {
  return or_throw(failed_reading(file_), [&](failure& why) { return read(to, why); });
}

std::size_t file_stream::readv(std::span<const std::span<std::byte>> to, std::error_code& error) {
  return or_code(error, [&](failure& why) { return read(to, why); });
}

std::size_t file_stream::write_all(std::span<const std::byte> from) {
  return or_throw(failed_writing(file_), [&](failure& why) { return write(from, why); });
}

std::size_t file_stream::write_all(std::span<const std::byte> from, std::error_code& error) {
  return or_code(error, [&](failure& why) { return write(from, why); });
}

std::size_t file_stream::writev(std::span<const std::span<const std::byte>> from) {
  return or_throw(failed_writing(file_), [&](failure& why) { return write(from, why); });
}

std::size_t file_stream::writev(std::span<const std::span<const std::byte>> from, std::error_code& error) {
  return or_code(error, [&](failure& why) { return write(from, why); });
}

std::uint64_t file_stream::position() noexcept {
  const std::lock_guard held(turn_);
  return position_;
}

void file_stream::seek(std::uint64_t position) noexcept {
  const std::lock_guard held(turn_);
  position_ = position;
}

}  // namespace v0
}  // namespace weft
