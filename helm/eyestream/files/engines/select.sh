#!/bin/sh
# Waits until every engine that is named is in the cache, then checks that it is for this machine. Fails closed.
set -eu
. "$(dirname "$0")/machine.sh"

require_machine
waited=0
for key in "$@"; do
  identity="$ENGINE_CACHE/$key/identity"
  while [ ! -f "$identity" ]; do
    [ "$waited" -lt "$ENGINE_WAIT_SECONDS" ] ||
      stop "the engine $key is not in the cache after $waited s: look at its Job (kubectl get jobs -l app.kubernetes.io/component=engines)"
    [ $((waited % 60)) -ne 0 ] || echo "waiting for the engine $key"
    sleep "${ENGINE_POLL_SECONDS:-5}"
    waited=$((waited + ${ENGINE_POLL_SECONDS:-5}))
  done
  for line in "gpu=$ENGINE_GPU" "compute=${ENGINE_COMPUTE:-}" "mig=${ENGINE_MIG:-}" "tensorrt=${ENGINE_TENSORRT:-}"; do
    grep -qxF "$line" "$identity" ||
      stop "the engine $key is not for this machine: wanted $line, it has $(grep "^${line%%=*}=" "$identity" || echo nothing)"
  done
  echo "the engine $key fits this machine"
done
