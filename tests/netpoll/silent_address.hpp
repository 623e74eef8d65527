// SPDX-License-Identifier: Apache-2.0
//
// Somewhere on loopback to connect to in vain.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include <weft/net.hpp>

namespace weft_test {

/// An address that answers nothing: a listener whose queue is full drops who asks for a connection.
class silent_address {
 public:
  silent_address() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof at;
    if (bind(listener_, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 || listen(listener_, 0) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &length) != 0)
      abort();
    in_the_queue_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(in_the_queue_, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) abort();
    where = weft::net::endpoint::parse("127.0.0.1:" + std::to_string(ntohs(at.sin_port)));
  }
  ~silent_address() {
    ::close(in_the_queue_);
    ::close(listener_);
  }
  silent_address(const silent_address&) = delete;
  silent_address& operator=(const silent_address&) = delete;

  weft::net::endpoint where;

 private:
  int listener_ = -1, in_the_queue_ = -1;
};

}  // namespace weft_test
