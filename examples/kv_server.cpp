// SPDX-License-Identifier: Apache-2.0
// A key-value server that redis-cli and redis-benchmark can talk to: RESP2 and inline commands, pipelined, a fiber a
// connection; keys that expire by timers; an append-only file whose writers share their fsyncs.
//
//   PING ECHO GET SET (EX PX PXAT NX XX KEEPTTL) MGET DEL EXISTS INCR DECR EXPIRE PEXPIRE PEXPIREAT PERSIST TTL PTTL
//   DBSIZE INFO CONFIG GET, COMMAND, QUIT
//
// Under `always` no reply leaves before all that it tells of is on the disk; under `everysec` and `no` before it is in
// the file, so that it outlives the process, but perhaps not the machine. A record that the end of the process tore is
// cut off at the next start. While the file cannot be written, writes are refused with MISCONF, reads go on, and what
// was not written is tried again; an unanswered or refused write may or may not have happened. The file only grows.
//
//   kv_server [--port N] [--appendonly FILE] [--appendfsync always|everysec|no]
#include <weft/file.hpp>
#include <weft/net.hpp>
#include <weft/weft.hpp>

#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using command = std::vector<std::string>;

constexpr std::int64_t most_arguments = 1024 * 1024;
constexpr std::int64_t most_bulk = 16 << 20;    // bytes of one argument
constexpr std::size_t most_request = 64 << 20;  // and of all together
constexpr std::size_t most_line = 64 * 1024;    // of a length, or of an inline command
constexpr std::size_t flush_at = 256 * 1024;    // bytes of replies
constexpr auto write_time = 30s;                // for a client to take its replies
constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

struct protocol_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::optional<std::int64_t> integer_in(std::string_view text) {
  std::int64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  return text;
}

/// Commands out of bytes as they come.
class parser {
 public:
  explicit parser(bool takes_inline) : takes_inline_(takes_inline) {}

  void feed(std::string_view bytes) {
    if (at_ > unread_.size() / 2) unread_.erase(0, std::exchange(at_, 0));
    unread_ += bytes;
  }
  std::uint64_t consumed() const { return consumed_; }  // by whole commands
  std::string_view rest() const { return std::string_view(unread_).substr(at_); }

  /// False: more bytes are needed. Throws protocol_error.
  bool next(command& out) {
    while (missing_ <= 0) {
      if (rest().empty()) return false;
      if (rest().front() != '*') return next_inline(out);
      const auto line = take_line("too big mbulk count string");
      if (!line) return false;
      const auto count = integer_in(line->substr(1));
      if (!count || *count > most_arguments) throw protocol_error("invalid multibulk length");
      missing_ = *count;
      if (missing_ <= 0) finish();
    }
    while (missing_ > 0) {
      if (bulk_ < 0) {
        const auto line = take_line("too big bulk count string");
        if (!line) return false;
        if (line->empty() || line->front() != '$')
          throw protocol_error(std::string("expected '$', got '") + (line->empty() ? '\r' : line->front()) + "'");
        const auto size = integer_in(line->substr(1));
        if (!size || *size < 0 || *size > most_bulk) throw protocol_error("invalid bulk length");
        bulk_ = *size;
        if (taken_ += static_cast<std::size_t>(bulk_); taken_ > most_request) throw protocol_error("too big request");
      }
      const auto size = static_cast<std::size_t>(bulk_);
      if (rest().size() < size + 2) return false;
      arguments_.emplace_back(rest().substr(0, size));
      take(size + 2);
      bulk_ = -1;
      --missing_;
    }
    out.swap(arguments_);
    finish();
    return true;
  }

 private:
  void take(std::size_t n) {
    at_ += n;
    seen_ += n;
  }
  void finish() {
    arguments_.clear();
    taken_ = 0;
    consumed_ = seen_;
  }
  std::optional<std::string_view> take_line(const char* too_long) {
    const std::size_t end = rest().find('\n');
    if (std::min(end, rest().size()) > most_line) throw protocol_error(too_long);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view line = rest().substr(0, end);
    take(end + 1);
    return line.ends_with('\r') ? line.substr(0, end - 1) : line;
  }
  bool next_inline(command& out) {
    if (!takes_inline_) throw protocol_error("expected '*'");
    const auto line = take_line("too big inline request");
    if (!line) return false;
    out.clear();
    char quote = 0;
    bool within = false;  // a word
    for (const char c : *line) {
      if (quote != 0 ? c == quote : c == '"' || c == '\'') {
        quote = quote != 0 ? '\0' : c;
        if (!std::exchange(within, true)) out.emplace_back();
      } else if (quote == 0 && (c == ' ' || c == '\t')) {
        within = false;
      } else {
        if (!std::exchange(within, true)) out.emplace_back();
        out.back() += c;
      }
    }
    if (quote != 0) throw protocol_error("unbalanced quotes in request");
    finish();
    return true;
  }

  const bool takes_inline_;
  std::string unread_;
  std::size_t at_ = 0;
  std::uint64_t seen_ = 0, consumed_ = 0;
  std::int64_t missing_ = 0, bulk_ = -1;
  std::size_t taken_ = 0;
  command arguments_;
};

void bulk(std::string& out, std::string_view text) {
  out += '$' + std::to_string(text.size()) + "\r\n";
  out += text;
  out += "\r\n";
}
void array(std::string& out, std::size_t count) { out += '*' + std::to_string(count) + "\r\n"; }
void integer(std::string& out, std::int64_t value) { out += ':' + std::to_string(value) + "\r\n"; }

enum class fsync_policy { always, everysec, no };

/// The append-only file. Positions are offsets in it. What is appended while one write is on its way goes out with the
/// next, all of it with one fsync.
class append_log {
 public:
  append_log(const std::string& path, fsync_policy policy) : path_(path), policy_(policy) {
    if (path.empty()) return;
    file_ = weft::file::open(path, O_RDWR | O_CREAT);
    // One that was killed may hold it a moment longer: the kernel first ends what was on its way to the disk.
    for (int tries = 0; ::flock(file_.native_handle(), LOCK_EX | LOCK_NB) != 0; ++tries) {
      if (tries == 40) throw std::system_error(errno, std::system_category(), path + " is another server's");
      weft::sleep_for(50ms);
    }
    // The file's name must last, too. Not every file system can be told so.
    const auto folder = std::filesystem::path(path).parent_path();
    std::error_code error;
    weft::file::open(folder.empty() ? "." : folder.string(), O_RDONLY | O_DIRECTORY).fsync(error);
    if (error)
      std::fprintf(stderr, "kv_server: fsync of the folder of %s: %s\n", path.c_str(), error.message().c_str());
  }

  /// Calls `apply` with each record; cuts off a torn one at the end.
  void replay(const std::function<void(command&)>& apply) {
    if (!file_) return;
    parser records(false);
    std::vector<char> piece(1 << 20);
    command record;
    std::uint64_t size = 0;
    std::string damage;
    try {
      while (const std::size_t n = file_.read_at(size, std::span<char>(piece))) {
        size += n;
        records.feed({piece.data(), n});
        while (records.next(record)) apply(record);
      }
    } catch (const protocol_error& error) {
      // Zeros are what a file system leaves where a write did not arrive; all else was no end of a process.
      if (records.rest().find_first_not_of('\0') != std::string_view::npos) damage = error.what();
      size = file_.size();
    }
    const std::uint64_t good = records.consumed();
    if (!damage.empty())
      throw std::runtime_error(path_ + " is damaged at byte " + std::to_string(good) + ": " + damage +
                               "; to go on with what is before: truncate -s " + std::to_string(good) + ' ' + path_);
    if (good != size) {
      std::fprintf(stderr, "kv_server: %s: the last record is torn: %llu bytes cut off at byte %llu\n", path_.c_str(),
                   static_cast<unsigned long long>(size - good), static_cast<unsigned long long>(good));
      cut_to(good);
    }
    // The one before may have been killed between a write and its fsync, and replies will tell of what it wrote.
    if (good != size || (good != 0 && policy_ == fsync_policy::always)) file_.fsync();
    appended_ = durable_ = good;
  }

  /// Never waits for the disk.
  void append(std::span<const std::string_view> record) {
    if (!file_) return;
    const std::lock_guard lock(mutex_);
    const std::size_t before = pending_.size();
    array(pending_, record.size());
    for (const std::string_view each : record) bulk(pending_, each);
    appended_ += pending_.size() - before;
    ++records_;
    work_.notify_one();
  }
  std::uint64_t end() const {
    const std::lock_guard lock(mutex_);
    return appended_;
  }

  /// Waits until everything before `position` is as safe as the policy wants it. Not empty: why it is not.
  std::string wait(std::uint64_t position) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return durable_ >= position || !error_.empty(); });
    return durable_ >= position ? "" : error_;
  }
  /// Why nothing can be written at the moment; empty: it can.
  std::string error() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }

  std::string info() const {
    const std::lock_guard lock(mutex_);
    return "aof_records:" + std::to_string(records_) + "\r\naof_batches:" + std::to_string(batches_) +
           "\r\naof_current_size:" + std::to_string(durable_) +
           "\r\naof_last_write_status:" + (error_.empty() ? "ok" : "err") + "\r\n";
  }

  /// The one who writes. Until close, and then until nothing is left that can be written.
  void run() {
    if (!file_) return;
    weft::scope s;
    if (policy_ == fsync_policy::everysec) s.go([this] { sync_each_second(); });
    std::string batch;  // what is not safe yet: kept until it is
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [&] { return closing_ || !pending_.empty() || !batch.empty(); });
      if (pending_.empty() && batch.empty()) break;
      batch += std::exchange(pending_, {});
      const std::uint64_t from = durable_;
      lock.unlock();
      std::error_code error;
      file_.write_at(from, std::span<const char>(batch), error);
      // After a failed fsync the kernel takes the pages for clean: only writing them anew makes it try again.
      if (!error && policy_ == fsync_policy::always) file_.fsync(error);
      if (error) cut_to(from);
      lock.lock();
      error_ = error ? error.message() : "";
      if (!error) durable_ += std::exchange(batch, {}).size();
      ++batches_;
      done_.notify_all();
      if (error && closing_) break;
      if (error) {
        lock.unlock();
        weft::select(weft::on_timeout(100ms), weft::on_recv(stop_));
        lock.lock();
      }
    }
    lock.unlock();
    s.cancel();
    sync();
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    stop_.close();
    work_.notify_one();
  }

 private:
  void cut_to(std::uint64_t size) {
    weft::blocking([&] {
      if (::ftruncate(file_.native_handle(), static_cast<off_t>(size)) != 0) std::perror(path_.c_str());
    });
  }
  void sync_each_second() {
    const weft::ticker every(1s);
    while (every.chan().recv()) sync();
  }
  void sync() {
    std::error_code error;
    file_.fsync(error);
    if (error && !weft::this_fiber::cancelled())
      std::fprintf(stderr, "kv_server: %s: fsync: %s\n", path_.c_str(), error.message().c_str());
  }

  const std::string path_;
  const fsync_policy policy_;
  weft::file file_;
  mutable weft::mutex mutex_;  // of all that follows
  weft::condition_variable work_, done_;
  std::string pending_;
  std::uint64_t appended_ = 0, durable_ = 0;
  std::uint64_t records_ = 0, batches_ = 0;
  std::string error_;
  bool closing_ = false;
  weft::chan<void> stop_;
};

struct entry {
  std::string value;
  std::int64_t expires = never;  // in ms of the system's clock
  std::optional<weft::timer> alarm;
};

/// What a command says to one connection.
struct session {
  std::string replies;
  bool quits = false;
};

/// The keys, and what can be done with them. Each command is one step, in one order for all connections and the log.
class store : public std::enable_shared_from_this<store> {
 public:
  explicit store(append_log& log) : log_(log) {}

  void load() {
    session nobody;
    log_.replay([&](command& c) {
      nobody.replies.clear();
      execute(c, nobody);
    });
    const std::lock_guard lock(mutex_);
    loading_ = false;
    std::erase_if(keys_, [this](const auto& each) { return each.second.expires <= now(); });
    for (auto& [key, e] : keys_) set_alarm(key, e);
  }

  /// True: it is a write that was carried out, which the caller must not confirm before the log has it.
  bool execute(command& c, session& to) {
    const auto known = commands().find(lower(c[0]));
    if (known == commands().end()) {
      to.replies += "-ERR unknown command '" + printable(c[0]) + "', with args beginning with: ";
      for (std::size_t i = 1; i < std::min<std::size_t>(c.size(), 4); ++i) to.replies += '\'' + printable(c[i]) + "' ";
      to.replies += "\r\n";
      return false;
    }
    const auto& [name, what] = *known;
    if (what.arity > 0 ? c.size() != static_cast<std::size_t>(what.arity)
                       : c.size() < static_cast<std::size_t>(-what.arity)) {
      to.replies += "-ERR wrong number of arguments for '" + name + "' command\r\n";
      return false;
    }
    if (what.writes) {
      if (const std::string why = log_.error(); !why.empty()) {
        to.replies += misconf(why);
        return false;
      }
    }
    const std::lock_guard lock(mutex_);
    (this->*what.run)(c, to);
    return what.writes;
  }

  static std::string misconf(const std::string& why) {
    return "-MISCONF Errors writing to the AOF file: " + why + "\r\n";
  }

 private:
  struct description {
    int arity;  // with the name; negative: at least so many
    bool writes;
    void (store::*run)(command&, session&);
  };
  static const std::unordered_map<std::string, description>& commands() {
    static const std::unordered_map<std::string, description> all = {
        {"ping", {-1, false, &store::ping}},      {"echo", {2, false, &store::echo}},
        {"quit", {-1, false, &store::quit}},      {"command", {-1, false, &store::list_commands}},
        {"config", {-2, false, &store::config}},  {"info", {-1, false, &store::info}},
        {"dbsize", {1, false, &store::count}},    {"get", {2, false, &store::get}},
        {"mget", {-2, false, &store::get_many}},  {"exists", {-2, false, &store::exists}},
        {"ttl", {2, false, &store::time_left}},   {"pttl", {2, false, &store::time_left}},
        {"set", {-3, true, &store::set}},         {"del", {-2, true, &store::erase}},
        {"incr", {2, true, &store::add}},         {"decr", {2, true, &store::add}},
        {"expire", {3, true, &store::expire}},    {"pexpire", {3, true, &store::expire}},
        {"pexpireat", {3, true, &store::expire}}, {"persist", {2, true, &store::persist}},
    };
    return all;
  }
  static std::string printable(std::string_view text) {  // in a reply that ends with its line
    std::string out(text.substr(0, 128));
    std::replace_if(
        out.begin(), out.end(), [](char c) { return c == '\r' || c == '\n'; }, ' ');
    return out;
  }

  // Nothing expires while the log is read: a later record may have given the key more time.
  std::int64_t now() const {
    using namespace std::chrono;
    return loading_ ? 0 : duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
  }
  entry* find(const std::string& key) {
    const auto found = keys_.find(key);
    if (found == keys_.end()) return nullptr;
    if (found->second.expires > now()) return &found->second;
    keys_.erase(found);  // its timer is late
    return nullptr;
  }
  void set_alarm(const std::string& key, entry& e) {
    e.alarm.reset();
    if (e.expires == never || loading_) return;
    const auto wait = std::chrono::milliseconds(std::min<std::int64_t>(e.expires - now(), 86'400'000));
    e.alarm.emplace(wait, [self = weak_from_this(), key] {
      if (const auto s = self.lock()) s->alarm(key);
    });
  }
  void alarm(const std::string& key) {
    const std::lock_guard lock(mutex_);
    if (entry* e = find(key)) set_alarm(key, *e);  // not yet: it was set anew meanwhile, or is more than a day off
  }
  void record(std::initializer_list<std::string_view> what) {
    if (!loading_) log_.append(what);
  }
  void record_value(const std::string& key, const entry& e) {
    if (e.expires == never)
      record({"SET", key, e.value});
    else
      record({"SET", key, e.value, "PXAT", std::to_string(e.expires)});
  }

  void ping(command& c, session& to) {
    if (c.size() > 1)
      bulk(to.replies, c[1]);
    else
      to.replies += "+PONG\r\n";
  }
  void echo(command& c, session& to) { bulk(to.replies, c[1]); }
  void quit(command&, session& to) {
    to.replies += "+OK\r\n";
    to.quits = true;
  }
  void list_commands(command& c, session& to) {
    array(to.replies, c.size() > 1 ? 0 : commands().size());
    if (c.size() > 1) return;
    for (const auto& [name, what] : commands()) {
      array(to.replies, 2);
      bulk(to.replies, name);
      integer(to.replies, what.arity);
    }
  }
  void config(command& c, session& to) {
    if (lower(c[1]) != "get") {
      to.replies += "-ERR only CONFIG GET is there\r\n";
      return;
    }
    array(to.replies, 0);
  }
  void info(command&, session& to) { bulk(to.replies, "# Persistence\r\n" + log_.info()); }
  void count(command&, session& to) { integer(to.replies, static_cast<std::int64_t>(keys_.size())); }
  void get(command& c, session& to) { value_of(c[1], to); }
  void get_many(command& c, session& to) {
    array(to.replies, c.size() - 1);
    for (std::size_t i = 1; i < c.size(); ++i) value_of(c[i], to);
  }
  void value_of(const std::string& key, session& to) {
    if (const entry* e = find(key))
      bulk(to.replies, e->value);
    else
      to.replies += "$-1\r\n";
  }
  void exists(command& c, session& to) {
    integer(to.replies, std::count_if(c.begin() + 1, c.end(), [&](const auto& key) { return find(key) != nullptr; }));
  }
  void time_left(command& c, session& to) {
    const entry* e = find(c[1]);
    if (e == nullptr || e->expires == never) return integer(to.replies, e == nullptr ? -2 : -1);
    const std::int64_t left = e->expires - now();
    integer(to.replies, lower(c[0]) == "ttl" ? (left + 500) / 1000 : left);
  }

  void set(command& c, session& to) {
    bool only_new = false, only_old = false, keep = false;
    std::int64_t expires = never;
    for (std::size_t i = 3; i < c.size(); ++i) {
      const std::string option = lower(c[i]);
      if (option == "nx" && !only_old)
        only_new = true;
      else if (option == "xx" && !only_new)
        only_old = true;
      else if (option == "keepttl" && expires == never)
        keep = true;
      else if ((option == "ex" || option == "px" || option == "pxat") && i + 1 < c.size() && expires == never &&
               !keep) {
        const auto time = integer_in(c[++i]);
        if (!time) return not_an_integer(to);
        if (*time <= 0 || !moment(option, *time, expires)) {
          to.replies += "-ERR invalid expire time in 'set' command\r\n";
          return;
        }
      } else {
        to.replies += "-ERR syntax error\r\n";
        return;
      }
    }
    const entry* const old = find(c[1]);
    if (old != nullptr ? only_new : only_old) {
      to.replies += "$-1\r\n";
      return;
    }
    if (keep && old != nullptr) expires = old->expires;
    entry& e = keys_[c[1]];
    e.value = std::move(c[2]);
    e.expires = expires;
    set_alarm(c[1], e);
    record_value(c[1], e);
    to.replies += "+OK\r\n";
  }
  void erase(command& c, session& to) {
    std::int64_t gone = 0;
    for (std::size_t i = 1; i < c.size(); ++i) {
      if (find(c[i]) == nullptr) continue;
      keys_.erase(c[i]);
      record({"DEL", c[i]});
      ++gone;
    }
    integer(to.replies, gone);
  }
  void add(command& c, session& to) {
    entry* e = find(c[1]);
    const auto value = e == nullptr ? 0 : integer_in(e->value);
    if (!value) return not_an_integer(to);
    std::int64_t sum = 0;
    if (__builtin_add_overflow(*value, lower(c[0]) == "incr" ? 1 : -1, &sum)) {
      to.replies += "-ERR increment or decrement would overflow\r\n";
      return;
    }
    if (e == nullptr) e = &keys_[c[1]];
    e->value = std::to_string(sum);
    record_value(c[1], *e);
    integer(to.replies, sum);
  }
  void expire(command& c, session& to) {
    const auto time = integer_in(c[2]);
    if (!time) return not_an_integer(to);
    const std::string name = lower(c[0]);
    std::int64_t expires = never;
    if (!moment(name == "expire" ? "ex" : name == "pexpire" ? "px" : "pxat", *time, expires)) {
      to.replies += "-ERR invalid expire time in '" + name + "' command\r\n";
      return;
    }
    entry* const e = find(c[1]);
    if (e != nullptr) {
      e->expires = expires;
      record({"PEXPIREAT", c[1], std::to_string(expires)});
      if (find(c[1]) != nullptr) set_alarm(c[1], *e);  // a time that has passed ends it here
    }
    integer(to.replies, e != nullptr ? 1 : 0);
  }
  void persist(command& c, session& to) {
    entry* const e = find(c[1]);
    const bool had = e != nullptr && e->expires != never;
    if (had) {
      e->expires = never;
      e->alarm.reset();
      record({"PERSIST", c[1]});
    }
    integer(to.replies, had ? 1 : 0);
  }
  /// When that is. False: too far off to be told.
  bool moment(std::string_view kind, std::int64_t time, std::int64_t& out) const {
    if (kind == "ex" && __builtin_mul_overflow(time, 1000, &time)) return false;
    if (kind != "pxat" && __builtin_add_overflow(time, now(), &time)) return false;
    out = time;
    return time != never;
  }
  static void not_an_integer(session& to) { to.replies += "-ERR value is not an integer or out of range\r\n"; }

  append_log& log_;
  weft::mutex mutex_;  // of all that follows
  std::unordered_map<std::string, entry> keys_;
  bool loading_ = true;
};

class connection {
 public:
  connection(weft::net::tcp_stream stream, store& keys, append_log& log)
      : stream_(std::move(stream)), keys_(keys), log_(log) {}

  void serve() {
    std::array<char, 16 * 1024> piece;
    std::error_code error;
    command c;
    while (const std::size_t n = stream_.read_some(std::span<char>(piece), error)) {
      try {
        commands_.feed({piece.data(), n});
        while (!session_.quits && commands_.next(c)) {
          if (c.empty()) continue;  // an empty line
          const std::size_t begin = session_.replies.size();
          if (keys_.execute(c, session_)) confirmations_.push_back({begin, session_.replies.size()});
          if (session_.replies.size() >= flush_at && !flush()) return;
        }
      } catch (const protocol_error& wrong) {
        session_.replies += std::string("-ERR Protocol error: ") + wrong.what() + "\r\n";
        session_.quits = true;
      }
      if (!flush() || session_.quits) break;
    }
    linger();
  }

 private:
  // What a reply tells of, a value that another connection has just written among it, must be safe before it leaves.
  bool flush() {
    if (const std::string why = log_.wait(log_.end()); !why.empty()) take_back_confirmations(why);
    confirmations_.clear();
    stream_.set_write_deadline(weft::clock::now() + write_time);
    std::error_code error;
    stream_.write_all(std::span<const char>(session_.replies), error);
    session_.replies.clear();
    return !error;
  }
  void take_back_confirmations(const std::string& why) {
    std::string kept;
    std::size_t at = 0;
    for (const auto& [begin, end] : confirmations_) {
      kept += session_.replies.substr(at, begin - at) + store::misconf(why);
      at = end;
    }
    session_.replies = kept + session_.replies.substr(at);
  }
  // To close while the client still sends would reset the connection, and the last reply might be lost with it.
  void linger() {
    std::error_code error;
    std::array<char, 4096> rest;
    stream_.shutdown_write(error);
    stream_.set_read_deadline(weft::clock::now() + 1s);
    for (int i = 0; i < 1024 && !error && stream_.read_some(std::span<char>(rest), error) != 0; ++i) {
    }
  }

  weft::net::tcp_stream stream_;
  store& keys_;
  append_log& log_;
  parser commands_{true};
  session session_;
  std::vector<std::pair<std::size_t, std::size_t>> confirmations_;  // where in the replies those of writes are
};

struct settings {
  std::uint16_t port = 6379;
  std::string file;
  fsync_policy policy = fsync_policy::everysec;
};

settings settings_from(int argc, char** argv) {
  settings s;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i], value = i + 1 < argc ? argv[i + 1] : "";
    const auto port = integer_in(value);
    if (name == "--port" && port && *port >= 0 && *port <= 65535)
      s.port = static_cast<std::uint16_t>(*port);
    else if (name == "--appendonly" && !value.empty())
      s.file = value;
    else if (name == "--appendfsync" && (value == "always" || value == "everysec" || value == "no"))
      s.policy = value == "always" ? fsync_policy::always : value == "no" ? fsync_policy::no : fsync_policy::everysec;
    else
      throw std::invalid_argument(
          std::string(name) + ' ' + std::string(value) +
          ": expected [--port 0..65535] [--appendonly FILE] [--appendfsync always|everysec|no]");
  }
  return s;
}

void serve(const settings& how) {
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the file's size is an error like a full disk
  append_log log(how.file, how.policy);
  const auto keys = std::make_shared<store>(log);
  keys->load();
  const auto end_signals = weft::signals({SIGINT, SIGTERM});  // from here on they do not end the process
  auto listener = weft::net::listen("127.0.0.1:" + std::to_string(how.port));
  std::printf("listening on %s\n", listener.local_endpoint().to_string().c_str());
  std::fflush(stdout);

  weft::scope writer;
  writer.go([&] { log.run(); });
  {
    weft::scope connections(weft::collect, {.limit = 20'000});
    connections.go([&] {
      end_signals.recv();
      listener.close();
    });
    while (auto stream = listener.accept())
      connections.go([&, stream = std::move(*stream)]() mutable { connection(std::move(stream), *keys, log).serve(); });
    connections.cancel();
    connections.join();
  }
  log.close();
  writer.join();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    weft::run([how = settings_from(argc, argv)] { serve(how); });
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "kv_server: %s\n", e.what());
    return 2;
  }
}
