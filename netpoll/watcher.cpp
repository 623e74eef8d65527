// SPDX-License-Identifier: Apache-2.0
// A duplicate of somebody else's descriptor, waited for and never read.
#include <weft/net/watcher.hpp>

#include <string>

#include "netpoll/calls.hpp"
#include "netpoll/open.hpp"
#include "netpoll/os.hpp"
#include "netpoll/readiness.hpp"

namespace weft {
inline namespace v0 {

using namespace rt;

static descriptor* watch(int number, int& error) {
  need_runtime("watcher");
  const int own = duplicate_now(number);
  if (own < 0) {
    error = -own;
    return nullptr;
  }
  descriptor* d = adopt_descriptor(own, false, error);
  if (d == nullptr && error == EPERM) d = adopt_always_ready(own, error);
  if (d == nullptr) os::close(own);
  return d;
}

namespace net {

watcher::watcher(int number, std::error_code& error) {
  failure why;
  d_ = watch(number, why.error);
  error = to_code(why);
}

watcher::watcher(int number) {
  failure why;
  d_ = watch(number, why.error);
  if (why) raise(why, "watcher(" + std::to_string(number) + ')' + (why.error == EBADF ? ": it is not open" : ""));
}

readiness watcher::wait(readiness wanted, std::error_code& error) {
  return or_code(error, [&](failure& why) { return await_readiness(d_, wanted, why); });
}

readiness watcher::wait(readiness wanted) {
  return or_throw(failed_wait{"wait", d_}, [&](failure& why) { return await_readiness(d_, wanted, why); });
}

void watcher::wait_readable(std::error_code& error) { wait(readable, error); }
void watcher::wait_readable() {
  or_throw(failed_wait{"wait_readable", d_}, [&](failure& why) { return await_readiness(d_, readable, why); });
}
void watcher::wait_writable(std::error_code& error) { wait(writable, error); }
void watcher::wait_writable() {
  or_throw(failed_wait{"wait_writable", d_}, [&](failure& why) { return await_readiness(d_, writable, why); });
}

}  // namespace net
}  // namespace v0
}  // namespace weft
