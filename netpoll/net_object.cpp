// SPDX-License-Identifier: Apache-2.0
#include <weft/detail/net_object.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <string>

#include "netpoll/byte_calls.hpp"
#include "netpoll/calls.hpp"
#include "netpoll/open.hpp"
#include "netpoll/side.hpp"

namespace weft {
inline namespace v0 {
namespace detail {

using namespace rt;

void net_object::close() noexcept {
  if (d_ != nullptr) close_descriptor(*d_);
}

void net_object::give_back() noexcept {
  release_descriptor(d_);
  d_ = nullptr;
}

void net_object::set_read_deadline(clock::time_point when) noexcept {
  if (d_ != nullptr) d_->set_deadline(direction::read, when.time_since_epoch().count());
}

void net_object::set_write_deadline(clock::time_point when) noexcept {
  if (d_ != nullptr) d_->set_deadline(direction::write, when.time_since_epoch().count());
}

void net_object::set_deadline(clock::time_point when) noexcept {
  set_read_deadline(when);
  set_write_deadline(when);
}

void net_object::set_timeout(any_duration each) noexcept {
  if (d_ != nullptr) d_->set_timeout(each.ns() > 0 ? each.ns() : never);
}

int net_object::release() noexcept { return d_ != nullptr ? detach_descriptor(*d_) : -1; }

int net_object::native_handle() noexcept {
  if (d_ == nullptr || !d_->hold()) return -1;
  d_->lend();
  const int fd = d_->number();
  d_->drop();
  return fd;
}

namespace {

/// What changes how the socket carries its bytes: from there on a short read says nothing.
bool lays_over(int level, int name) noexcept {
#ifndef TCP_ULP
#define TCP_ULP 31
#endif
  return level == IPPROTO_TCP && name == TCP_ULP;
}

[[noreturn]] [[gnu::cold]] void fail(const std::error_code& error, const char* verb, int level, int name,
                                     const descriptor* d) {
  raise({error.value()}, std::string(verb) + " option " + std::to_string(name) + " of level " + std::to_string(level) +
                             " on " + name_of(d));
}

}  // namespace

void net_object::set_option_bytes(int level, int name, const void* value, std::size_t size, std::error_code& error) {
  error = to_code(while_open(d_, [&](int fd) noexcept {
    const int result = set_option_now(fd, level, name, value, static_cast<socklen_t>(size));
    if (result == 0 && lays_over(level, name)) d_->distrust_short_reads();
    return result;
  }));
}

void net_object::set_option_bytes(int level, int name, const void* value, std::size_t size) {
  std::error_code error;
  set_option_bytes(level, name, value, size, error);
  if (error) fail(error, "set", level, name, d_);
}

void net_object::option_bytes(int level, int name, void* value, std::size_t size, std::error_code& error) const {
  error = to_code(while_open(d_, [&](int fd) noexcept {
    auto length = static_cast<socklen_t>(size);
    return option_now(fd, level, name, value, length);
  }));
}

void net_object::option_bytes(int level, int name, void* value, std::size_t size) const {
  std::error_code error;
  option_bytes(level, name, value, size, error);
  if (error) fail(error, "get", level, name, d_);
}

}  // namespace detail
}  // namespace v0
}  // namespace weft
