#!/bin/sh
# Builds one engine into the cache: whole under its key, or not there at all. Runs the command it is given, which must
# write a Triton model repository to $ENGINE_PARTIAL/repository. Called again, or by two at once, it does no harm.
set -eu
. "$(dirname "$0")/machine.sh"

final="$ENGINE_CACHE/$ENGINE_KEY"
if [ -f "$final/identity" ]; then
  echo "the engine $ENGINE_KEY is in the cache already"
  exit 0
fi
require_machine
if [ -n "${ENGINE_CHECKPOINT:-}" ]; then
  [ -f "$ENGINE_CHECKPOINT" ] || stop "there is no checkpoint $ENGINE_CHECKPOINT: correct models.$ENGINE_MODEL.checkpoint"
  found=$(sha256sum "$ENGINE_CHECKPOINT" | cut -d' ' -f1)
  [ "$found" = "$ENGINE_DIGEST" ] ||
    stop "the checkpoint's sha256 is $found, models.$ENGINE_MODEL.digest says $ENGINE_DIGEST: it is another file"
fi
rm -rf "$ENGINE_PARTIAL"
mkdir -p "$ENGINE_PARTIAL"
trap 'rm -rf "$ENGINE_PARTIAL"' EXIT
builder=
trap '[ -z "$builder" ] || kill "$builder" 2>/dev/null || true; exit 143' TERM INT
"$@" &
builder=$!
wait "$builder"
builder=
[ -f "$ENGINE_PARTIAL/repository/$ENGINE_MODEL/config.pbtxt" ] ||
  stop "the build left no repository/$ENGINE_MODEL/config.pbtxt: it did not finish"
{
  echo "model=$ENGINE_MODEL"
  echo "digest=$ENGINE_DIGEST"
  echo "gpu=$ENGINE_GPU"
  echo "compute=${ENGINE_COMPUTE:-}"
  echo "mig=${ENGINE_MIG:-}"
  echo "tensorrt=${ENGINE_TENSORRT:-}"
} >"$ENGINE_PARTIAL/identity"
chmod -R a+rX "$ENGINE_PARTIAL"
sync
mkdir -p "$(dirname "$final")"
if ! mv -T "$ENGINE_PARTIAL" "$final" 2>/dev/null; then
  [ -f "$final/identity" ] || stop "the engine cannot be moved to $final: is the cache writable?"
  echo "another build was quicker; its engine stays"
fi
echo "published $ENGINE_KEY"
