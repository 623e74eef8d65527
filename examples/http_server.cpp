// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 server: Boost.Beast's messages over weft's buffered streams, written as for blocking sockets, a fiber a
// connection.
//
//   GET /            plain text
//   GET /json        a document
//   GET /fibers      how many fibers there are, and how many run at once
//   POST /echo       the body back
//   GET /files/PATH  a file below --root, with ranges and validators
//
// Connections are kept alive, requests may be pipelined. A client that is slow to send its request is answered with 408
// and cut off, as is one that is slow to take its answer; a head or body that is too large with 431 or 413, a
// Transfer-Encoding other than chunked with 501, what is no HTTP with 400. On SIGINT and SIGTERM no more connections are taken in, those without a request end at once, and
// running requests have a limited time to finish; the exit status is then 0.
//
//   http_server [ADDRESS:PORT] [--port N] [--request-time SECONDS] [--root FOLDER]
#include <utility>

#include <weft/net.hpp>
#include <weft/weft.hpp>

#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http.hpp>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

namespace http = boost::beast::http;
using namespace std::chrono_literals;
using boost::beast::iequals;
using request = http::request<http::string_body>;
using request_parser = http::request_parser<http::string_body>;
using text_response = http::response<http::string_body>;

constexpr std::uint32_t most_head = 8 * 1024;  // also of all chunk extensions, and of the trailers
constexpr std::uint64_t most_body = 1024 * 1024;
constexpr auto idle_time = 60s;   // between two requests of a connection
constexpr auto drain_time = 10s;  // for running requests, once the server is told to end

/// The whole of `text` as a number, if it is one and at most `most`.
std::optional<std::uint64_t> number_in(std::string_view text, std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || rest != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

struct settings {
  std::string address = "127.0.0.1:8080";
  std::chrono::seconds request_time = 10s;  // to send a request, and again to take its answer
  std::string root;
};

settings settings_from(int argc, char** argv) {
  settings s;
  const auto number = [](std::string_view name, std::string_view text, std::uint64_t most) {
    if (const auto n = number_in(text, most)) return *n;
    throw std::invalid_argument(std::string(name) + ' ' + std::string(text) + ": expected a number from 0 to " +
                                std::to_string(most));
  };
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    const bool has_value = i + 1 < argc;
    if (name == "--port" && has_value)
      s.address = "127.0.0.1:" + std::to_string(number(name, argv[++i], 65535));
    else if (name == "--request-time" && has_value)
      s.request_time = std::chrono::seconds(number(name, argv[++i], 3600));
    else if (name == "--root" && has_value)
      s.root = argv[++i];
    else if (i == 1 && !name.starts_with("--"))
      s.address = name;
    else
      throw std::invalid_argument(
          "usage: http_server [ADDRESS:PORT] [--port N] [--request-time SECONDS] [--root FOLDER]");
  }
  return s;
}

/// A descriptor of a file or folder.
class handle {
 public:
  explicit handle(int fd = -1) noexcept : fd_(fd) {}
  handle(handle&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  handle& operator=(handle&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~handle() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

struct found_file {
  handle file;
  std::uint64_t size = 0;
  std::time_t modified = 0;
  std::string tag;  // changes whenever the content does
};

/// The files below a folder. The kernel itself sees to it that no path and no link leads out of it.
class file_tree {
 public:
  explicit file_tree(const std::string& root) {
    if (root.empty()) return;
    root_ = handle(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (root_.fd() < 0) throw std::system_error(errno, std::system_category(), "--root " + root);
    if (open_beneath(".").fd() < 0)
      throw std::system_error(errno, std::system_category(), "--root wants openat2 (Linux 5.6), which said");
  }

  /// A regular file; for a folder, its index.html.
  std::optional<found_file> open(std::string path) const {
    return weft::blocking([&]() -> std::optional<found_file> {  // a disk may be slow
      struct stat what {};
      if (root_.fd() < 0) return std::nullopt;
      handle file = open_beneath(path.empty() ? "." : path.c_str());
      if (file.fd() < 0 || ::fstat(file.fd(), &what) != 0) return std::nullopt;
      if (S_ISDIR(what.st_mode)) {
        file = open_beneath((path.empty() ? "index.html" : path + "/index.html").c_str());
        if (file.fd() < 0 || ::fstat(file.fd(), &what) != 0) return std::nullopt;
      }
      if (!S_ISREG(what.st_mode)) return std::nullopt;
      std::array<char, 64> tag{};
      std::snprintf(tag.data(), tag.size(), "\"%llx.%lx-%llx\"", static_cast<unsigned long long>(what.st_mtim.tv_sec),
                    static_cast<unsigned long>(what.st_mtim.tv_nsec), static_cast<unsigned long long>(what.st_size));
      return found_file{std::move(file), static_cast<std::uint64_t>(what.st_size), what.st_mtim.tv_sec, tag.data()};
    });
  }

 private:
  handle open_beneath(const char* path) const {
    open_how how{};
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;  // no waiting for the other end of a FIFO
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    return handle(static_cast<int>(::syscall(SYS_openat2, root_.fd(), path, &how, sizeof how)));
  }

  handle root_;
};

/// The path that a target means: without its query, %xx decoded. nullopt: it means none.
std::optional<std::string> decoded(std::string_view target) {
  std::string path;
  target = target.substr(0, target.find_first_of("?#"));
  for (std::size_t i = 0; i < target.size(); ++i) {
    unsigned value = static_cast<unsigned char>(target[i]);
    if (target[i] == '%') {
      const char* const digits = target.data() + i + 1;
      if (target.size() - i < 3 || std::from_chars(digits, digits + 2, value, 16).ptr != digits + 2)
        return std::nullopt;
      i += 2;
    }
    if (value == 0) return std::nullopt;
    path += static_cast<char>(value);
  }
  return path;
}

std::string_view type_of(std::string_view path) {
  static constexpr std::pair<std::string_view, std::string_view> types[] = {
      {".html", "text/html; charset=utf-8"},
      {".txt", "text/plain; charset=utf-8"},
      {".css", "text/css"},
      {".js", "text/javascript"},
      {".json", "application/json"},
      {".svg", "image/svg+xml"},
      {".png", "image/png"},
      {".jpg", "image/jpeg"},
      {".wasm", "application/wasm"},
      {".pdf", "application/pdf"},
  };
  for (const auto& [ending, type] : types)
    if (path.ends_with(ending)) return type;
  return "application/octet-stream";
}

std::string http_date(std::time_t when) {
  std::tm parts{};
  std::array<char, 32> text{};
  ::gmtime_r(&when, &parts);
  return {text.data(), std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

/// Whether the client's copy is still good.
bool not_modified(const request& r, const found_file& f) {
  if (const auto tags = r[http::field::if_none_match]; !tags.empty())
    return tags == "*" || tags.find(f.tag) != tags.npos;
  std::tm parts{};
  const std::string since(r[http::field::if_modified_since]);
  const char* const end = ::strptime(since.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return end != nullptr && *end == '\0' && f.modified <= ::timegm(&parts);
}

struct byte_range {
  std::uint64_t first = 0, size = 0;
};

/// What of the file is wanted: one range; all of it where none, several or no sensible one is asked for. nullopt: there
/// is nothing there.
std::optional<byte_range> wanted(const request& r, const found_file& f) {
  const byte_range all{0, f.size};
  const auto field = r[http::field::range], only_if = r[http::field::if_range];
  std::string_view text(field.data(), field.size());
  if (!text.starts_with("bytes=") || (!only_if.empty() && only_if != f.tag)) return all;
  text.remove_prefix(6);
  const std::size_t dash = text.find('-');
  if (dash == text.npos) return all;
  const auto first = number_in(text.substr(0, dash), UINT64_MAX), last = number_in(text.substr(dash + 1), UINT64_MAX);
  if (dash == 0 && last) {  // the last so many
    if (*last == 0 || f.size == 0) return std::nullopt;
    const std::uint64_t size = std::min(*last, f.size);
    return byte_range{f.size - size, size};
  }
  if (!first || (!last && dash + 1 != text.size()) || (last && *last < *first)) return all;
  if (*first >= f.size) return std::nullopt;
  return byte_range{*first, std::min(last.value_or(UINT64_MAX), f.size - 1) - *first + 1};
}

template <class Body>
http::response<Body> respond(http::status status, const request& r, std::string_view type) {
  http::response<Body> answer(status, r.version());
  answer.set(http::field::server, "weft");
  answer.set(http::field::content_type, boost::beast::string_view(type.data(), type.size()));
  answer.keep_alive(r.keep_alive());
  return answer;
}

text_response text(http::status status, const request& r, std::string body, std::string_view type = "text/plain") {
  auto answer = respond<http::string_body>(status, r, type);
  answer.body() = std::move(body);
  answer.prepare_payload();
  return answer;
}

/// A request that is answered with an error, after which the connection ends.
struct refusal {
  http::status status;
  std::string why;
};

/// The path and query of a target, which may come with the server's name before it: "http://host/path?query".
std::string_view path_of(std::string_view target) {
  const std::size_t scheme = target.find("://");
  if (scheme == target.npos) return target;
  const boost::beast::string_view name(target.data(), scheme);
  if (!iequals(name, "http") && !iequals(name, "https")) return target;
  target.remove_prefix(scheme + 3);
  const std::size_t path = target.find('/');
  if (path == 0 || target.empty()) throw refusal{http::status::bad_request, "the target names no host"};
  return path == target.npos ? "/" : target.substr(path);
}

/// A client, to which answers go through a buffer. Its reader asks for more when nothing whole is left: then the answers
/// so far are due. What does not fit, or is due, is to be taken in time.
class client {
 public:
  client(weft::net::tcp_stream s, std::chrono::seconds time) : stream(std::move(s)), time_(time) {}

  std::size_t read_some(std::span<std::byte> to) {
    flush();
    return stream.read_some(to);
  }
  std::size_t read_some(std::span<std::byte> to, std::error_code& error) {
    if (out_.buffered() != 0) begin();
    out_.flush(error);
    return error ? 0 : stream.read_some(to, error);
  }
  void write(std::span<const std::byte> piece) {
    if (out_.buffered() + piece.size() > weft::io::default_buffer_size) begin();
    out_.write(piece);
  }
  void flush() {
    if (out_.buffered() != 0) begin();
    out_.flush();
  }

  weft::net::tcp_stream stream;

 private:
  void begin() { stream.set_write_deadline(weft::clock::now() + time_); }

  std::chrono::seconds time_;
  weft::io::writer<weft::net::tcp_stream> out_{stream};
};

class connection {
 public:
  connection(weft::net::tcp_stream stream, const settings& how, const file_tree& files, weft::cancel_scope& ending)
      : client_(std::move(stream), how.request_time), how_(how), files_(files), ending_(ending) {}

  void serve() {
    try {
      while (await_request()) {
        request_parser parser;
        parser.header_limit(most_head);
        parser.body_limit(most_body);
        // For all of the request, however it trickles in.
        client_.stream.set_read_deadline(weft::clock::now() + how_.request_time);
        read(parser);
        if (ending_.cancelled()) parser.get().keep_alive(false);
        if (!answer(parser.get())) break;
      }
      client_.flush();
    } catch (const refusal& no) {
      refuse(no);
    } catch (const std::system_error& error) {  // else the peer is gone
      if (error.code() == std::errc::timed_out) refuse({http::status::request_timeout, "the request took too long"});
    }
  }

 private:
  // Between requests, and only there, the end of the server ends the connection at once.
  bool await_request() {
    if (in_.buffered() != 0) return true;  // pipelined
    client_.flush();
    ending_.run([&] {
      client_.stream.set_read_deadline(weft::clock::now() + idle_time);
      std::error_code error;
      in_.peek(1, error);
    });
    return in_.buffered() != 0;
  }

  void read(request_parser& parser) {
    feed(parser, [&] { return parser.is_header_done(); });
    const request& r = parser.get();
    if (const auto coding = r[http::field::transfer_encoding]; r.count(http::field::transfer_encoding) != 0) {
      if (r.version() < 11) throw refusal{http::status::bad_request, "HTTP/1.0 has no Transfer-Encoding"};
      if (r.count(http::field::transfer_encoding) > 1 || !iequals(coding, "chunked"))
        throw refusal{http::status::not_implemented, "the only Transfer-Encoding here is chunked"};
    }
    if (!parser.is_done() && iequals(r[http::field::expect], "100-continue"))
      send(http::response<http::empty_body>(http::status::continue_, 11), false);
    std::size_t extensions = 0;
    auto count = [&](std::uint64_t, boost::beast::string_view extension, boost::beast::error_code& error) {
      extensions += extension.size();
      if (extensions > most_head) error = http::error::header_limit;
    };
    parser.on_chunk_header(count);
    parser.eager(true);
    feed(parser, [&] { return parser.is_done(); });
  }

  template <class Done>
  void feed(request_parser& parser, const Done& done) {
    for (std::size_t unread = 0; !done();) {
      in_.peek(unread + 1);
      const std::string_view there = in_.peek(in_.buffered());
      if (there.size() == unread) throw std::system_error(std::make_error_code(std::errc::connection_aborted));
      const bool is_head = !parser.is_header_done();
      boost::beast::error_code error;
      const std::size_t n = parser.put(boost::asio::buffer(there.data(), there.size()), error);
      if (error && error != http::error::need_more) throw refusal{status_of(error), error.message()};
      const std::string_view taken = there.substr(0, n);
      if (is_head && (taken.find("\r\n ") != taken.npos || taken.find("\r\n\t") != taken.npos))
        throw refusal{http::status::bad_request, "a field goes on in the next line"};
      unread = there.size() - n;
      if (error && unread > most_head)  // more is needed
        throw refusal{http::status::request_header_fields_too_large, "a chunk's head, or the trailers, are too long"};
      skip(n);
    }
  }
  void skip(std::size_t n) {
    std::array<char, 1024> taken;
    while (n != 0) n -= in_.read_some(std::span(taken).first(std::min(n, taken.size())));
  }

  static http::status status_of(const boost::beast::error_code& error) {
    if (error == http::error::body_limit) return http::status::payload_too_large;
    if (error == http::error::header_limit) return http::status::request_header_fields_too_large;
    return http::status::bad_request;
  }

  // All that answer return whether the connection goes on.
  bool answer(const request& r) {
    const auto send_text = [&](text_response reply) { return send(reply, r.method() == http::verb::head); };
    const std::string_view target = path_of({r.target().data(), r.target().size()});
    if (r.version() == 11 && r.count(http::field::host) != 1)
      return send_text(text(http::status::bad_request, r, "expected one Host\n"));
    if (target == "/echo" && r.method() == http::verb::post)
      return send_text(text(http::status::ok, r, r.body(), "application/octet-stream"));
    if (r.method() != http::verb::get && r.method() != http::verb::head) {
      text_response reply = text(http::status::method_not_allowed, r, "only GET and HEAD here\n");
      reply.set(http::field::allow, target == "/echo" ? "POST" : "GET, HEAD");
      return send_text(std::move(reply));
    }
    if (target == "/") return send_text(text(http::status::ok, r, "Hello, World!"));
    if (target == "/json")
      return send_text(text(http::status::ok, r, R"({"message":"Hello, World!"})", "application/json"));
    if (target == "/fibers")
      return send_text(text(http::status::ok, r,
                            "{\"fibers\":" + std::to_string(weft::num_fibers()) +
                                ",\"maxprocs\":" + std::to_string(weft::maxprocs()) + "}",
                            "application/json"));
    if (target.starts_with("/files/")) {
      const auto path = decoded(target.substr(7));
      if (!path) return send_text(text(http::status::bad_request, r, "this path means nothing\n"));
      if (const auto file = files_.open(*path)) return send_file(r, *file, type_of(*path));
    }
    return send_text(text(http::status::not_found, r, "no such page\n"));
  }

  bool send_file(const request& r, const found_file& f, std::string_view type) {
    const bool head_only = r.method() == http::verb::head;
    auto head = respond<http::empty_body>(http::status::ok, r, type);
    head.set(http::field::etag, f.tag);
    head.set(http::field::last_modified, http_date(f.modified));
    head.set(http::field::accept_ranges, "bytes");
    if (not_modified(r, f)) {
      head.result(http::status::not_modified);
      return send(head, true);
    }
    const auto range = wanted(r, f);
    if (!range) {
      text_response reply = text(http::status::range_not_satisfiable, r, "the file has no such bytes\n");
      reply.set(http::field::content_range, "bytes */" + std::to_string(f.size));
      return send(reply, head_only);
    }
    if (range->size != f.size) {
      head.result(http::status::partial_content);
      head.set(http::field::content_range, "bytes " + std::to_string(range->first) + '-' +
                                               std::to_string(range->first + range->size - 1) + '/' +
                                               std::to_string(f.size));
    }
    head.content_length(range->size);
    return send(head, true) && (head_only || send_bytes(f, *range)) && head.keep_alive();
  }

  bool send_bytes(const found_file& f, byte_range left) {
    std::vector<std::byte> piece(std::min<std::uint64_t>(left.size, 64 * 1024));
    while (left.size != 0) {
      const auto n = weft::blocking([&] {
        return ::pread(f.file.fd(), piece.data(), std::min<std::uint64_t>(left.size, piece.size()),
                       static_cast<off_t>(left.first));
      });
      if (n <= 0) return false;  // cut short meanwhile: the client must see that this is not all
      client_.write(std::span<const std::byte>(piece.data(), static_cast<std::size_t>(n)));
      left = {left.first + static_cast<std::uint64_t>(n), left.size - static_cast<std::uint64_t>(n)};
    }
    return true;
  }

  template <class Body>
  bool send(const http::response<Body>& reply, bool head_only) {
    boost::beast::error_code error;
    http::serializer<false, Body, http::fields> serializer(reply);
    serializer.split(head_only);
    while (!error && !(head_only ? serializer.is_header_done() : serializer.is_done()))
      serializer.next(error, [&](boost::beast::error_code&, const auto& pieces) {
        std::size_t size = 0;
        for (const auto piece : boost::beast::buffers_range_ref(pieces)) {
          client_.write({static_cast<const std::byte*>(piece.data()), piece.size()});
          size += piece.size();
        }
        serializer.consume(size);
      });
    return !error && !reply.need_eof();
  }
  void refuse(const refusal& no) {
    request none;
    none.keep_alive(false);
    try {
      send(text(no.status, none, no.why + '\n'), false);
      client_.flush();
    } catch (const std::system_error&) {
      return;  // it takes nothing
    }
    linger();
  }

  // To close while the client still sends would reset the connection, and the answer might be lost with it.
  void linger() {
    std::error_code error;
    client_.stream.shutdown_write(error);
    client_.stream.set_read_deadline(weft::clock::now() + 1s);
    std::array<std::byte, 4096> rest;
    for (int i = 0; i < 1024 && !error && client_.stream.read_some(std::span<std::byte>(rest), error) != 0; ++i) {
    }
  }

  client client_;
  const settings& how_;
  const file_tree& files_;
  weft::cancel_scope& ending_;
  weft::io::reader<client> in_{client_};
};

void serve(const settings& how) {
  const file_tree files(how.root);
  const auto end_signals = weft::signals({SIGINT, SIGTERM});  // from here on they do not end the process
  auto listener = weft::net::listen(how.address);
  std::printf("listening on http://%s\n", listener.local_endpoint().to_string().c_str());
  std::fflush(stdout);

  weft::cancel_scope ending;
  weft::scope connections(weft::collect, {.limit = 20'000});
  connections.go([&] {
    end_signals.recv();
    ending.cancel();
    listener.close();
  });
  while (auto stream = listener.accept())
    connections.go(
        [&, stream = std::move(*stream)]() mutable { connection(std::move(stream), how, files, ending).serve(); });
  try {
    weft::with_timeout(drain_time, [&] { connections.join(); });
  } catch (const weft::timed_out&) {
    std::fprintf(stderr, "http_server: requests still ran after %d s and were cut off\n",
                 static_cast<int>(drain_time.count()));
    connections.cancel();
    connections.join();
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    weft::run([how = settings_from(argc, argv)] { serve(how); });
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "http_server: %s\n", e.what());
    return 2;
  }
}
