// SPDX-License-Identifier: Apache-2.0
#include "runtime/inspect/wrapper_frame.hpp"

#include <cstddef>

namespace weft::rt {

namespace {

constexpr std::size_t nowhere = std::string_view::npos;

struct wrapper {
  std::string_view begin;  // of its name, up to its template arguments
  int which;               // of these is what it wraps
};

constexpr wrapper wrappers[] = {
    {"weft::detail::run_closure<", 0}, {"weft::detail::callable_ref::callable_ref<", 0}, {"weft::detail::task<", 1},
    {"weft::detail::bound_call<", 0},  {"weft::wait_group::counted_call<", 0},
};
constexpr std::string_view result_slot = "weft::detail::result_slot<";  // ...<T>::fill<F>
constexpr std::string_view of_the_standard[] = {
    "std::invoke<", "std::__invoke<", "std::__invoke_impl<", "std::__invoke_r<", "std::apply<", "std::__apply_impl<",
};

/// Goes over a name and knows how deep in brackets it is.
class nesting {
 public:
  /// The depth after `name[at]`.
  int pass(std::string_view name, std::size_t at) noexcept {
    switch (name[at]) {
      case '<':
      case '(':
      case '{':
      case '[':
        return ++depth_;
      case '>':
        if (at > 0 && name[at - 1] == '-') return depth_;  // an arrow
        [[fallthrough]];
      case ')':
      case '}':
      case ']':
        return --depth_;
      default:
        return depth_;
    }
  }

 private:
  int depth_ = 0;
};

/// Where the bracket that opens at `from` has been closed: one past it.
std::size_t past_bracket(std::string_view name, std::size_t from) noexcept {
  nesting in;
  for (std::size_t at = from; at < name.size(); ++at)
    if (in.pass(name, at) == 0) return at + 1;
  return nowhere;
}

/// One of the template arguments that begin at `from`, past their bracket.
std::string_view argument(std::string_view name, std::size_t from, int which) noexcept {
  nesting in;
  std::size_t begin = from;
  for (std::size_t at = from; at < name.size(); ++at) {
    const int depth = in.pass(name, at);
    const bool last = depth < 0;
    if (!last && (depth != 0 || name[at] != ',')) continue;
    if (which-- == 0) return name.substr(begin, at - begin);
    if (last) break;
    begin = at + 2;  // ", "
  }
  return {};
}

std::string_view without_qualifiers(std::string_view type) noexcept {
  for (bool more = true; more;) {
    more = false;
    for (const std::string_view end : {"&", " const", " "}) {
      if (!type.ends_with(end)) continue;
      type.remove_suffix(end.size());
      more = true;
    }
  }
  return type;
}

/// What the wrapper at the beginning of `name` wraps; `is` false: it begins with something else.
wrapper_frame unwrap(std::string_view name) noexcept {
  for (const wrapper& w : wrappers)
    if (name.starts_with(w.begin)) return {true, argument(name, w.begin.size(), w.which)};
  if (name.starts_with(result_slot)) {
    constexpr std::string_view fill = "::fill<";
    const std::size_t at = past_bracket(name, result_slot.size() - 1);
    if (at == nowhere || !name.substr(at).starts_with(fill)) return {};
    return {true, argument(name, at + fill.size(), 0)};
  }
  // A lambda within one of weft's function templates: weft::shield<F>(F)::{lambda()#1}
  const std::size_t arguments = name.find_first_of("<(");
  if (!name.starts_with("weft::") || arguments == nowhere || name[arguments] != '<') return {};
  const std::size_t parameters = past_bracket(name, arguments);
  if (parameters == nowhere || parameters >= name.size() || name[parameters] != '(') return {};
  const std::size_t end = past_bracket(name, parameters);
  if (end == nowhere || !name.substr(end).starts_with("::")) return {};
  return {true, argument(name, arguments + 1, 0)};
}

std::string_view innermost(std::string_view type) noexcept {
  for (;;) {
    type = without_qualifiers(type);
    const wrapper_frame outer = unwrap(type);
    if (!outer.is) break;
    type = outer.closure;
  }
  return type.find("(*)") == nowhere ? type : std::string_view();  // a function's own frame has its name
}

wrapper_frame look_at(std::string_view name) noexcept {
  for (const std::string_view begin : of_the_standard)
    if (name.starts_with(begin)) return {true, {}};
  const wrapper_frame found = unwrap(name);
  return {found.is, found.is ? innermost(found.closure) : std::string_view()};
}

}  // namespace

wrapper_frame find_wrapper_frame(std::string_view function) noexcept {
  // Names of templates follow their return types; both may have spaces within brackets only.
  nesting in;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < function.size(); ++at) {
    if (in.pass(function, at) != 0 || function[at] != ' ') continue;
    if (const wrapper_frame found = look_at(function.substr(begin)); found.is) return found;
    begin = at + 1;
  }
  return look_at(function.substr(begin));
}

}  // namespace weft::rt
