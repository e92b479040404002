#!/usr/bin/env bash
# Stops what cluster-up.sh started, with the jobs that run. With --purge also forgets every job and log.
set -euo pipefail
source "$(dirname "$0")/settings.sh"
if ! ours; then
  echo "cluster-down.sh: no cluster of cluster-up.sh here ($CONF)" >&2
  exit 1
fi
if timeout 10 scontrol ping 2>/dev/null | grep -q 'is UP'; then
  squeue -h -o %A | sort -u | xargs -r scancel
  for _ in $(seq 40); do
    [[ -z $(squeue -h) ]] && break
    sleep 0.5
  done
fi
for file in "$FOLDER"/run/slurmd.*.pid; do stop "$file" slurmd; done
stop "$(controller_pid)" slurmctld
if [[ ${1:-} == --purge ]]; then
  rm -rf "$FOLDER" "$CONF" "$(dirname "$CONF")/gres.conf"
fi
