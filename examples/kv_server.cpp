// SPDX-License-Identifier: Apache-2.0
// A key-value server that redis-cli and redis-benchmark can talk to: RESP2 and inline commands, pipelined, a fiber a
// connection; keys that expire by timers; an append-only file whose writers share their fsyncs.
//
//   PING ECHO GET SET (EX PX PXAT NX XX KEEPTTL) MGET DEL EXISTS INCR DECR EXPIRE PEXPIRE PEXPIREAT PERSIST TTL PTTL
//   DBSIZE INFO CONFIG GET, COMMAND, COMMAND COUNT, BGREWRITEAOF, QUIT
//
// Under `always` no reply leaves before all that it tells of is on the disk; under `everysec` and `no` before it is in
// the file, so that it outlives the process, but perhaps not the machine. A record that the end of the process tore is
// cut off at the next start. While the file cannot be written, writes are refused with MISCONF, reads go on, and what
// was not written is tried again; an unanswered or refused write may or may not have happened. BGREWRITEAOF writes the
// file anew, with a record for each key, while commands go on.
//
//   kv_server [--port N] [--appendonly FILE] [--appendfsync always|everysec|no]
#include <weft/file.hpp>
#include <weft/net.hpp>
#include <weft/weft.hpp>

#include <sys/file.h>
#include <sys/stat.h>

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

/// Written as Redis writes it: "007" and "-0" are no numbers.
std::optional<std::int64_t> integer_in(std::string_view text) {
  std::int64_t value = 0;
  const std::string_view digits = text.substr(text.starts_with('-') ? 1 : 0);
  if (digits.starts_with('0') && text != "0") return std::nullopt;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || rest != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  return text;
}

/// Commands out of a stream.
template <class From>
class command_reader {
 public:
  command_reader(From& from, bool takes_inline, std::size_t buffer) : in_(from, buffer), takes_inline_(takes_inline) {}

  /// False: the end, perhaps in the middle of a command. An empty line is an empty command. Throws protocol_error.
  bool next(command& out) {
    out.clear();
    const std::string_view first = in_.peek(1);
    if (first.empty()) return false;
    if (first.front() != '*') return next_inline(out);
    const auto head = line("too big mbulk count string");
    if (!head) return false;
    const auto count = integer_in(head->substr(1));
    if (!count || *count > most_arguments) throw protocol_error("invalid multibulk length");
    std::size_t taken = 0;
    for (std::int64_t i = 0; i < *count; ++i) {
      const auto length = line("too big bulk count string");
      if (!length) return false;
      if (!length->starts_with('$'))
        throw protocol_error(std::string("expected '$', got '") + (length->empty() ? '\r' : length->front()) + "'");
      const auto size = integer_in(length->substr(1));
      if (!size || *size < 0 || *size > most_bulk) throw protocol_error("invalid bulk length");
      if (taken += static_cast<std::size_t>(*size); taken > most_request) throw protocol_error("too big request");
      if (!argument(out.emplace_back(), static_cast<std::size_t>(*size))) return false;
    }
    return true;
  }
  /// What has been read and belongs to no command yet.
  std::string_view rest() { return in_.peek(in_.buffered()); }

 private:
  std::optional<std::string_view> line(const char* too_long) {
    std::error_code error;
    const auto whole = in_.read_until('\n', most_line + 2, error);
    if (error == std::errc::message_size) throw protocol_error(too_long);
    if (error) throw std::system_error(error);
    if (!whole || !whole->ends_with('\n')) return std::nullopt;
    return whole->substr(0, whole->size() - (whole->ends_with("\r\n") ? 2 : 1));
  }
  // Memory is taken as bytes come, and not as they are announced.
  bool argument(std::string& to, std::size_t size) {
    constexpr std::size_t step = 64 * 1024;
    while (to.size() < size) {
      const std::size_t begin = to.size();
      to.resize(std::min(size, begin + step));
      if (!read_exactly(std::span(to).subspan(begin))) return false;
    }
    std::array<char, 2> end;
    return read_exactly(end);
  }
  bool read_exactly(std::span<char> to) {
    std::error_code error;
    in_.read_exactly(to, error);
    if (error && error != std::errc::connection_aborted) throw std::system_error(error);
    return !error;
  }

  /// Words as sdssplitargs of Redis has them: "with \n \x41 \"", 'with \'', and a quote ends its word.
  bool next_inline(command& out) {
    if (!takes_inline_) throw protocol_error("expected '*'");
    const auto text = line("too big inline request");
    if (!text) return false;
    const protocol_error unbalanced("unbalanced quotes in request");
    const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
    std::string_view left = *text;
    const auto take = [&left] {
      const char c = left.front();
      left.remove_prefix(1);
      return c;
    };
    for (;;) {
      while (!left.empty() && is_space(left.front())) take();
      if (left.empty()) return true;
      std::string& word = out.emplace_back();
      while (!left.empty() && !is_space(left.front())) {
        const char quote = take();
        if (quote != '"' && quote != '\'') {
          word += quote;
          continue;
        }
        for (;;) {
          if (left.empty()) throw unbalanced;
          const char c = take();
          if (c == quote) break;
          if (c == '\\' && !left.empty() && (quote == '"' || left.front() == '\''))
            word += quote == '"' ? escaped(left) : take();
          else
            word += c;
        }
        if (!left.empty() && !is_space(left.front())) throw unbalanced;
      }
    }
  }
  /// What stands after a backslash within "".
  static char escaped(std::string_view& left) {
    unsigned value = 0;
    const char* const digits = left.data() + 1;
    if (left.size() >= 3 && left.front() == 'x' && std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2) {
      left.remove_prefix(3);
      return static_cast<char>(value);
    }
    const char c = left.front();
    left.remove_prefix(1);
    constexpr std::string_view names = "nrtba", values = "\n\r\t\b\a";
    const std::size_t at = names.find(c);
    return at != names.npos ? values[at] : c;
  }

  weft::io::reader<From> in_;
  const bool takes_inline_;
};

void bulk(std::string& out, std::string_view text) {
  out += '$' + std::to_string(text.size()) + "\r\n";
  out += text;
  out += "\r\n";
}
void array(std::string& out, std::size_t count) { out += '*' + std::to_string(count) + "\r\n"; }
void integer(std::string& out, std::int64_t value) { out += ':' + std::to_string(value) + "\r\n"; }

void encode(std::string& out, std::span<const std::string_view> record) {
  array(out, record.size());
  for (const std::string_view each : record) bulk(out, each);
}

enum class fsync_policy { always, everysec, no };

/// The append-only file. Positions count all that was ever appended. What is appended while one write is on its way goes
/// out with the next, all of it with one fsync.
///
/// It is written anew beside itself: first the records that the store gives for what there is at one moment, then, by the
/// one who writes, those that were appended since; the new file takes the name of the old one when both are on the disk.
class append_log {
 public:
  append_log(const std::string& path, fsync_policy policy) : path_(path), policy_(policy) {
    if (path.empty()) return;
    for (int tries = 0; !open(); ++tries) {
      if (tries == 40) throw std::system_error(errno, std::system_category(), path + " is another server's");
      weft::sleep_for(50ms);
    }
    sync_folder();
  }

  /// Calls `apply` with each record; cuts off a torn one at the end.
  void replay(const std::function<void(command&)>& apply) {
    if (!file_) return;
    weft::file_stream from(*file_);
    command_reader records(from, false, 1 << 20);
    std::uint64_t good = 0;
    std::string damage;
    try {
      for (command record; records.next(record);) {
        good = from.position() - records.rest().size();
        if (!record.empty()) apply(record);
      }
    } catch (const protocol_error& error) {
      // Zeros are what a file system leaves where a write did not arrive; all else was no end of a process.
      if (records.rest().find_first_not_of('\0') != std::string_view::npos) damage = error.what();
    }
    const std::uint64_t size = file_->size();
    if (!damage.empty())
      throw std::runtime_error(path_ + " is damaged at byte " + std::to_string(good) + ": " + damage +
                               "; to go on with what is before: truncate -s " + std::to_string(good) + ' ' + path_);
    if (good != size) {
      std::fprintf(stderr, "kv_server: %s: the last record is torn: %llu bytes cut off at byte %llu\n", path_.c_str(),
                   static_cast<unsigned long long>(size - good), static_cast<unsigned long long>(good));
      cut_to(good);
    }
    // The one before may have been killed between a write and its fsync, and replies will tell of what it wrote.
    if (good != size || (good != 0 && policy_ == fsync_policy::always)) file_->fsync();
    appended_ = durable_ = good;
  }

  /// Never waits for the disk.
  void append(std::span<const std::string_view> record) {
    if (!file_) return;
    const std::lock_guard lock(mutex_);
    const std::size_t before = pending_.size();
    encode(pending_, record);
    if (collecting_) since_ += std::string_view(pending_).substr(before);
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

  /// Begins to write the file anew, as `snapshot` and what is appended from now on. Not empty: why not.
  std::string rewrite(const std::function<std::string()>& snapshot) {
    if (!file_) return "there is no append only file";
    const std::lock_guard lock(mutex_);
    if (rewriting_) return "Background append only file rewriting already in progress";
    snapshot_ = snapshot();
    rewriting_ = collecting_ = true;
    told_.notify_one();
    return "";
  }

  std::string info() const {
    const std::lock_guard lock(mutex_);
    return "aof_records:" + std::to_string(records_) + "\r\naof_batches:" + std::to_string(batches_) +
           "\r\naof_current_size:" + std::to_string(durable_ - begin_) +
           "\r\naof_rewrite_in_progress:" + (rewriting_ ? "1" : "0") +
           "\r\naof_last_bgrewrite_status:" + (rewrite_failed_ ? "err" : "ok") +
           "\r\naof_last_write_status:" + (error_.empty() ? "ok" : "err") + "\r\n";
  }

  /// The one who writes. Until close, and then until nothing is left that can be written.
  void run() {
    if (!file_) return;
    weft::scope s;
    if (policy_ == fsync_policy::everysec) s.go([this] { sync_each_second(); });
    s.go([this] { write_snapshots(); });
    std::string batch;  // what is not safe yet: kept until it is
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [&] { return closing_ || next_ || !pending_.empty() || !batch.empty(); });
      if (next_ && take_over(lock)) batch.clear();
      if (pending_.empty() && batch.empty()) {
        if (closing_) break;
        continue;
      }
      batch += std::exchange(pending_, {});
      const std::uint64_t from = durable_ - begin_;
      lock.unlock();
      std::error_code error;
      file_->write_at(from, std::span<const char>(batch), error);
      // After a failed fsync the kernel takes the pages for clean: only writing them anew makes it try again.
      if (!error && policy_ == fsync_policy::always) file_->fsync(error);
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
  /// Returns false if another server has the file. One that was killed may hold it a moment longer: the kernel first
  /// ends what was on its way to the disk. And one that has written it anew has left the name to another file.
  bool open() {
    struct stat ours {
    }, named{};
    file_ = std::make_shared<weft::file>(weft::file::open(path_, O_RDWR | O_CREAT));
    return ::flock(file_->native_handle(), LOCK_EX | LOCK_NB) == 0 && ::fstat(file_->native_handle(), &ours) == 0 &&
           ::stat(path_.c_str(), &named) == 0 && ours.st_ino == named.st_ino;
  }
  /// The file's name must last, too. Not every file system can be told so.
  void sync_folder() {
    const auto folder = std::filesystem::path(path_).parent_path();
    std::error_code error;
    weft::file::open(folder.empty() ? "." : folder.string(), O_RDONLY | O_DIRECTORY).fsync(error);
    if (error)
      std::fprintf(stderr, "kv_server: fsync of the folder of %s: %s\n", path_.c_str(), error.message().c_str());
  }
  void cut_to(std::uint64_t size) {
    std::error_code error;
    file_->truncate(size, error);
    if (error) std::fprintf(stderr, "kv_server: truncate %s: %s\n", path_.c_str(), error.message().c_str());
  }

  std::string other_path() const { return path_ + ".rewrite"; }

  /// Writes what the store has given to the other file, while the writer goes on with this one.
  void write_snapshots() {
    std::unique_lock lock(mutex_);
    for (;;) {
      told_.wait(lock, [&] { return snapshot_.has_value(); });
      const std::string text = std::move(*std::exchange(snapshot_, std::nullopt));
      lock.unlock();
      std::shared_ptr<weft::file> other;
      std::string why;
      try {
        other = std::make_shared<weft::file>(weft::file::open(other_path(), O_RDWR | O_CREAT | O_TRUNC));
        if (::flock(other->native_handle(), LOCK_EX | LOCK_NB) != 0)
          throw std::system_error(errno, std::system_category(), "flock");
        other->write_at(0, std::span<const char>(text));
        other->fsync();
      } catch (const std::system_error& error) {
        why = error.what();
      }
      lock.lock();
      if (why.empty()) {
        next_ = std::move(other);
        next_size_ = text.size();
        work_.notify_one();
      } else {
        give_up(why);
      }
    }
  }
  /// Adds what was appended since, and puts the other file in the place of this one. Returns false if it cannot: then
  /// this one goes on.
  bool take_over(std::unique_lock<weft::mutex>& lock) {
    const std::shared_ptr<weft::file> other = std::exchange(next_, nullptr);
    const std::string tail = std::exchange(since_, {});
    std::string covered = std::exchange(pending_, {});  // by the snapshot, or by the tail
    const std::uint64_t end = appended_, size = next_size_ + tail.size();
    collecting_ = false;
    lock.unlock();
    std::string why;
    try {
      other->write_at(next_size_, std::span<const char>(tail));
      other->fsync();
      weft::blocking([&] { std::filesystem::rename(other_path(), path_); });
    } catch (const std::system_error& error) {
      why = error.what();
    }
    if (why.empty()) sync_folder();
    lock.lock();
    if (!why.empty()) {
      pending_.insert(0, covered);
      give_up(why);
      return false;
    }
    file_ = other;
    begin_ = end - size;
    durable_ = end;
    error_.clear();
    rewriting_ = rewrite_failed_ = false;
    done_.notify_all();
    return true;
  }
  /// The lock is held.
  void give_up(const std::string& why) {
    std::fprintf(stderr, "kv_server: %s was not written: %s\n", other_path().c_str(), why.c_str());
    std::error_code error;
    std::filesystem::remove(other_path(), error);
    since_.clear();
    rewriting_ = collecting_ = false;
    rewrite_failed_ = true;
  }

  void sync_each_second() {
    const weft::ticker every(1s);
    while (every.chan().recv()) sync();
  }
  void sync() {
    std::shared_ptr<weft::file> file;
    {
      const std::lock_guard lock(mutex_);
      file = file_;
    }
    std::error_code error;
    file->fsync(error);
    if (error && !weft::this_fiber::cancelled())
      std::fprintf(stderr, "kv_server: %s: fsync: %s\n", path_.c_str(), error.message().c_str());
  }

  const std::string path_;
  const fsync_policy policy_;
  mutable weft::mutex mutex_;         // of all that follows
  std::shared_ptr<weft::file> file_;  // replaced by the one who writes, who alone may look at it without the lock
  weft::condition_variable work_, done_, told_;
  std::string pending_;
  std::uint64_t begin_ = 0, appended_ = 0, durable_ = 0;  // positions: of the file's first byte, and two ends
  std::uint64_t records_ = 0, batches_ = 0;
  std::string error_;
  bool closing_ = false;
  weft::chan<void> stop_;

  bool rewriting_ = false, collecting_ = false, rewrite_failed_ = false;
  std::optional<std::string> snapshot_;  // to be written to the other file
  std::string since_;                    // appended after it
  std::shared_ptr<weft::file> next_;     // the other file, once the snapshot is on the disk
  std::uint64_t next_size_ = 0;
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
        {"ping", {-1, false, &store::ping}},
        {"echo", {2, false, &store::echo}},
        {"quit", {-1, false, &store::quit}},
        {"command", {-1, false, &store::list_commands}},
        {"bgrewriteaof", {1, false, &store::rewrite}},
        {"config", {-2, false, &store::config}},
        {"info", {-1, false, &store::info}},
        {"dbsize", {1, false, &store::count}},
        {"get", {2, false, &store::get}},
        {"mget", {-2, false, &store::get_many}},
        {"exists", {-2, false, &store::exists}},
        {"ttl", {2, false, &store::time_left}},
        {"pttl", {2, false, &store::time_left}},
        {"set", {-3, true, &store::set}},
        {"del", {-2, true, &store::erase}},
        {"incr", {2, true, &store::add}},
        {"decr", {2, true, &store::add}},
        {"expire", {3, true, &store::expire}},
        {"pexpire", {3, true, &store::expire}},
        {"pexpireat", {3, true, &store::expire}},
        {"persist", {2, true, &store::persist}},
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
  template <class To>
  static void describe(const std::string& key, const entry& e, const To& to) {
    if (e.expires == never)
      to({"SET", key, e.value});
    else
      to({"SET", key, e.value, "PXAT", std::to_string(e.expires)});
  }
  void record_value(const std::string& key, const entry& e) {
    describe(key, e, [this](std::initializer_list<std::string_view> what) { record(what); });
  }

  void rewrite(command&, session& to) {
    const std::string why = log_.rewrite([this] {
      std::string all;
      for (const auto& [key, e] : keys_)
        if (e.expires > now())
          describe(key, e, [&all](std::initializer_list<std::string_view> what) { encode(all, what); });
      return all;
    });
    to.replies += why.empty() ? "+Background append only file rewriting started\r\n" : "-ERR " + why + "\r\n";
  }
  void ping(command& c, session& to) {
    if (c.size() > 2)
      to.replies += "-ERR wrong number of arguments for 'ping' command\r\n";
    else if (c.size() > 1)
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
    if (c.size() == 2 && lower(c[1]) == "count")
      return integer(to.replies, static_cast<std::int64_t>(commands().size()));
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
    command_reader commands(*this, true, 16 * 1024);
    try {
      for (command c; !session_.quits && commands.next(c);) {
        if (c.empty()) continue;  // an empty line
        const std::size_t begin = session_.replies.size();
        if (keys_.execute(c, session_)) confirmations_.push_back({begin, session_.replies.size()});
        if (session_.replies.size() >= flush_at && !flush()) return;
      }
    } catch (const protocol_error& wrong) {
      session_.replies += std::string("-ERR Protocol error: ") + wrong.what() + "\r\n";
    } catch (const std::system_error&) {
      return;  // the client is gone
    }
    if (flush()) linger();
  }

  // Its reader asks for more when no whole command is left: then the replies to those before are due.
  std::size_t read_some(std::span<std::byte> to) { return flush() ? stream_.read_some(to) : 0; }
  std::size_t read_some(std::span<std::byte> to, std::error_code& error) {
    return flush() ? stream_.read_some(to, error) : 0;
  }

 private:
  // What a reply tells of, a value that another connection has just written among it, must be safe before it leaves.
  bool flush() {
    if (gone_ || session_.replies.empty()) return !gone_;
    if (const std::string why = log_.wait(log_.end()); !why.empty()) take_back_confirmations(why);
    confirmations_.clear();
    stream_.set_write_deadline(weft::clock::now() + write_time);
    std::error_code error;
    stream_.write_all(std::span<const char>(session_.replies), error);
    session_.replies.clear();
    gone_ = static_cast<bool>(error);
    return !gone_;
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
  session session_;
  bool gone_ = false;                                               // the client, or it takes no replies
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
