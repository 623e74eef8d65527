# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the drivers of example servers: starts one, learns its address, and sees to it that it ends when told.

# shellcheck source=tests/examples/expect.sh
source "$(dirname "${BASH_SOURCE[0]}")/expect.sh"

server_pid=''
server_out=''
address=''

# start PROGRAM ARGUMENTS...: sets `address` to the 127.0.0.1:PORT that it prints.
start() {
  local line=''
  exec {server_out}< <(exec "$@")
  server_pid=$!
  # shellcheck disable=SC2064 # the pid of now
  trap "kill -KILL $server_pid 2>/dev/null || true" EXIT
  until [[ $line =~ 127\.0\.0\.1:[1-9][0-9]* ]]; do
    read -r -t 30 -u "$server_out" line || fail "the server did not say 127.0.0.1:PORT within 30 s"
  done
  address=${BASH_REMATCH[0]}
}

# stop SIGNAL: the server must end with status 0.
stop() {
  local status=0
  kill -"$1" "$server_pid"
  wait "$server_pid" || status=$?
  trap - EXIT
  ((status == 0)) || fail "the server ended with status $status on SIG$1"
}

# exchange TEXT: sends it, and prints all that comes back until the server closes.
exchange() {
  local connection
  exec {connection}<>"/dev/tcp/${address/://}"
  printf '%b' "$1" >&"$connection"
  timeout 30 cat <&"$connection"
  exec {connection}>&-
}
