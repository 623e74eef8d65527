// SPDX-License-Identifier: Apache-2.0
// Publish and subscribe: one fiber, the broker, owns the list of subscribers, and everything reaches it over channels.
// So there is no lock, and each message goes to those who are subscribed at one moment.
//
// Policy for slow subscribers: a subscriber has a mailbox with limited room. The broker waits for nobody; who has no
// room loses the message, and the mailbox counts how many it has lost. All others get it, in the order of publication.
//
//   pubsub [MESSAGES_OF_EACH_PUBLISHER]
#include <array>
#include <charconv>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <weft/weft.hpp>

static constexpr int publishers = 4;
static constexpr int readers = 8;
static constexpr int room = 16;    // of a mailbox
static constexpr int enough = 10;  // for the subscriber who leaves

struct message {
  int publisher;
  int number;
};

struct mailbox {
  weft::chan<message> messages{room};
  long lost = 0;  // written by the broker, until it closes `messages`; to be read after that
};
using subscription = std::shared_ptr<mailbox>;

class broker {
 public:
  /// A mailbox that gets all that is published from now on. Once the broker has ended, it is closed at once.
  subscription subscribe() {
    auto mine = std::make_shared<mailbox>();
    weft::select(weft::on_send(joining_, mine), weft::on_recv(ended_, [&] { mine->messages.close(); }));
    return mine;
  }
  /// Closes the mailbox.
  void unsubscribe(const subscription& mine) { weft::select(weft::on_send(leaving_, mine), weft::on_recv(ended_)); }
  void publish(message m) { published_.send(m); }
  /// Ends the broker when it has passed on what was published. Nobody may publish any more.
  void close() { published_.close(); }

  void run() {
    std::vector<subscription> all;
    for (bool open = true; open;)
      weft::select(weft::on_recv(joining_, [&](std::optional<subscription> s) { all.push_back(*s); }),
                   weft::on_recv(leaving_,
                                 [&](std::optional<subscription> s) {
                                   if (std::erase(all, *s) != 0) (*s)->messages.close();
                                 }),
                   weft::on_recv(published_, [&](std::optional<message> m) {
                     open = m.has_value();
                     if (!open) return;
                     for (const subscription& s : all)
                       if (s->messages.try_send(*m) == weft::chan_status::full) ++s->lost;
                   }));
    ended_.close();  // whoever still comes finds this
    for (const subscription& s : all) s->messages.close();
  }

 private:
  weft::chan<subscription> joining_, leaving_;
  weft::chan<message> published_{64};
  weft::chan<void> ended_;
};

/// Reads until the mailbox is closed. How many there were, or -1 if a publisher's were out of order.
static long read_all(const mailbox& mine) {
  long received = 0;
  std::array<int, publishers> next{};
  for (const message& m : mine.messages) {
    int& due = next[static_cast<std::size_t>(m.publisher)];
    if (m.number < due) return -1;
    due = m.number + 1;
    ++received;
  }
  return received;
}

static int publish_and_subscribe(int count) {
  const long published = static_cast<long>(publishers) * count;
  broker hub;
  std::array<long, readers> received{}, lost{};
  long left_with = 0;
  weft::scope s;
  s.go([&] { hub.run(); });
  for (std::size_t r = 0; r < readers; ++r)
    s.go([&, r, mine = hub.subscribe()] {
      received[r] = read_all(*mine);
      lost[r] = mine->lost;
    });
  s.go([&, mine = hub.subscribe()] {  // one that leaves early
    while (left_with < enough && mine->messages.recv()) ++left_with;
    hub.unsubscribe(mine);
  });
  const subscription slow = hub.subscribe();  // one that does not read while the others do

  weft::scope sources;
  for (int p = 0; p < publishers; ++p)
    sources.go([&, p] {
      for (int n = 0; n < count; ++n) hub.publish({p, n});
    });
  sources.join();
  hub.close();
  s.join();
  const long slow_received = read_all(*slow);

  bool right = left_with == enough && slow_received == room && slow->lost == published - room;
  for (std::size_t r = 0; r < readers; ++r) right = right && received[r] + lost[r] == published;
  std::printf("%ld messages from %d publishers; each of %d readers got them or counted them as lost: %s\n", published,
              publishers, readers, right ? "yes" : "no");
  std::printf("the slow subscriber got %ld and lost %ld; one left after %ld\n", slow_received, slow->lost, left_with);
  return right ? 0 : 1;
}

static int count_from(int argc, char** argv) {
  if (argc == 1) return 1000;
  const std::string_view text = argv[1];
  int n = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (argc != 2 || error != std::errc{} || rest != text.data() + text.size() || n < enough || n > 1'000'000)
    throw std::invalid_argument("usage: pubsub [MESSAGES_OF_EACH_PUBLISHER], a number from 10 to 1000000, not '" +
                                std::string(text) + "'");
  return n;
}

int main(int argc, char** argv) {
  try {
    return weft::run([count = count_from(argc, argv)] { return publish_and_subscribe(count); });
  } catch (const std::exception& e) {
    std::fprintf(stderr, "pubsub: %s\n", e.what());
    return 2;
  }
}
