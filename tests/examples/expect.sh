# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the drivers of examples: what they say of what came out.

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

expect() {  # WHAT GOT PATTERN
  # shellcheck disable=SC2053 # a pattern
  [[ $2 == $3 ]] || fail "$1: expected $3, got: $2"
}

# refuses PATTERN PROGRAM ARGUMENTS...: it must end with status 2, and one line on stderr that matches.
refuses() {
  local pattern=$1 status=0 message
  shift
  message=$("$@" 2>&1 >/dev/null) || status=$?
  ((status == 2)) || fail "$*: expected exit status 2, got $status"
  expect "$*" "$message" "$pattern"
  [[ $message != *$'\n'* ]] || fail "$*: expected one line, got: $message"
}
