#!/bin/sh
# Builds one engine into the cache: whole under its key, or not there at all. Runs the command it is given with
# `--output=FOLDER` behind it, which must write a Triton model repository there. Called again, or by many at once, it
# does no harm: one builds and the others wait for it.
#
# Who builds owns the newest of the numbered folders in .building/KEY and changes its `beat` at every look. Another takes
# over by making the next number, which only one can, once the beat says "free" or stood still for $ENGINE_LEASE_LOOKS
# looks. So no locks are needed, which not every shared file system has, and no clocks that agree. Should two build after
# all, because one was only paused, the first to publish wins.
set -eu
here=$(dirname "$0")
. "$here/machine.sh"

final="$ENGINE_CACHE/$ENGINE_KEY"
claims="$ENGINE_CACHE/.building/$ENGINE_KEY"
lease=${ENGINE_LEASE_LOOKS:-24}
claim=
builder=

leave() {
  if [ -n "$builder" ]; then
    kill "$builder" 2>/dev/null || true
    wait "$builder" 2>/dev/null || true
  fi
  if [ -n "$claim" ]; then
    rm -rf "$claim/engine"
    echo free 2>/dev/null >"$claim/beat" || true
  fi
  # A checkpoint that was downloaded is not kept for as long as the pod lives.
  [ -z "${ENGINE_SCRATCH:-}" ] || rm -rf "${ENGINE_SCRATCH:?}"/* || true
}
trap leave EXIT
trap 'exit 143' TERM INT

# In the background, since a shell answers signals only between foreground commands.
pause() {
  sleep "${ENGINE_POLL_SECONDS:-5}" >/dev/null 2>&1 &
  wait $! || true
}

published() { [ -f "$final/identity" ]; }

newest() { ls "$claims" 2>/dev/null | sort -n | tail -n 1; }

# Makes the claim after number $1; fails when another was quicker.
take() {
  next=$((${1:-0} + 1))
  if ! mkdir "$claims/$next" 2>/dev/null; then
    [ -d "$claims/$next" ] || stop "$claims cannot be written to: is the cache writable, and is there room?"
    return 1
  fi
  if [ "$(newest)" != "$next" ]; then # what was listed was old: numbers below the newest are taken away
    rmdir "$claims/$next" 2>/dev/null || true
    return 1
  fi
  claim="$claims/$next"
  for old in "$claims"/*; do
    [ "${old##*/}" -ge "$next" ] || rm -rf "$old" || true
  done
}

# Returns once this process owns the build or the engine is there.
wait_for_turn() {
  mkdir -p "$claims" 2>/dev/null || stop "$claims cannot be made: is the cache writable, and is there room?"
  seen=
  still=0
  told=
  until published; do
    last=$(newest)
    beat=$(cat "$claims/$last/beat" 2>/dev/null || true)
    [ "$last $beat" = "$seen" ] || still=0
    seen="$last $beat"
    if [ -z "$last" ] || [ "$beat" = free ] || [ "$still" -ge "$lease" ]; then
      ! take "$last" || return 0
    elif [ -z "$told" ]; then
      echo "another pod builds the engine $ENGINE_KEY: waiting for it"
      told=yes
    fi
    still=$((still + 1))
    pause
  done
}

# Runs a command to its end, beating, as long as the claim is this process's own and there is time.
beating() {
  "$@" &
  builder=$!
  while kill -0 "$builder" 2>/dev/null; do
    [ "$(newest)" = "${claim##*/}" ] ||
      stop "another pod has taken the build of $ENGINE_KEY over, as this one gave no sign of life"
    looks=$((looks + 1))
    echo "$looks" 2>/dev/null >"$claim/beat" || true # the claim may have been taken just now: the next look tells
    [ "$(date +%s)" -lt "$until_s" ] ||
      stop "the build of $ENGINE_KEY took more than $ENGINE_DEADLINE_SECONDS s: see engines.deadlineSeconds"
    pause
  done
  ended=$builder
  builder=
  wait "$ended"
}

build() {
  if [ -n "${ENGINE_CHECKPOINT:-}" ]; then
    [ -z "${ENGINE_URL:-}" ] || python "$here/fetch.py" "$ENGINE_URL" "$ENGINE_CHECKPOINT"
    [ -f "$ENGINE_CHECKPOINT" ] || stop "there is no checkpoint $ENGINE_CHECKPOINT: correct models.$ENGINE_MODEL.checkpoint"
    found=$(sha256sum "$ENGINE_CHECKPOINT" | cut -d' ' -f1)
    [ "$found" = "$ENGINE_DIGEST" ] ||
      stop "the checkpoint's sha256 is $found, models.$ENGINE_MODEL.digest says $ENGINE_DIGEST: it is another file"
  fi
  exec "$@" "--output=$claim/engine/repository"
}

seal() {
  [ -f "$claim/engine/repository/$ENGINE_MODEL/config.pbtxt" ] ||
    stop "the build left no repository/$ENGINE_MODEL/config.pbtxt: it did not finish"
  {
    echo "model=$ENGINE_MODEL"
    echo "digest=$ENGINE_DIGEST"
    echo "gpu=$ENGINE_GPU"
    echo "compute=${ENGINE_COMPUTE:-}"
    echo "mig=${ENGINE_MIG:-}"
    echo "tensorrt=${ENGINE_TENSORRT:-}"
  } >"$claim/engine/identity"
  chmod -R a+rX "$claim/engine"
  sync
}

publish() {
  mkdir -p "$(dirname "$final")"
  if mv -T "$claim/engine" "$final" 2>/dev/null; then
    # The beat stays what it is: who does not see the engine yet, behind its file system's cache, goes on waiting.
    claim=
    echo "published $ENGINE_KEY"
  else
    published || stop "the engine cannot be moved to $final: is the cache writable?"
    echo "another build was quicker; its engine stays"
  fi
}

if published; then
  echo "the engine $ENGINE_KEY is in the cache already"
  exit 0
fi
require_machine
wait_for_turn
if published; then
  echo "the engine $ENGINE_KEY is in the cache now"
  exit 0
fi
looks=0
until_s=$(($(date +%s) + ENGINE_DEADLINE_SECONDS))
beating build "$@"
beating seal
publish
