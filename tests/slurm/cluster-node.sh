#!/usr/bin/env bash
# Lets one node of the cluster of cluster-up.sh die, and brings it back.
#
#   tests/slurm/cluster-node.sh kill nid000001     kill -9 of its slurmd; the job's processes go on, unseen by SLURM
#   tests/slurm/cluster-node.sh crash nid000001    kill -9 of all that runs on the node, as when the power goes
#   tests/slurm/cluster-node.sh start nid000001    starts its slurmd again, if it does not run
#   tests/slurm/cluster-node.sh pids nid000001     all processes of the node
set -euo pipefail
source "$(dirname "$0")/settings.sh"

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

# Of one node: slurmd and slurmstepd, known by the log they have open, and what has the node's name in its environment.
pids() {
  local daemon
  {
    grep -lzx "SLURMD_NODENAME=$1" /proc/[0-9]*/environ 2>/dev/null || true
    for daemon in $(pgrep -x 'slurmd|slurmstepd'); do
      find "/proc/$daemon/fd" -lname "$(node_log "$1")" 2>/dev/null || true
    done
  } | cut -d / -f 3 | sort -nu
}

[[ $# == 2 ]] || usage
ours || { echo "cluster-node.sh: no cluster of cluster-up.sh here ($CONF)" >&2; exit 1; }
[[ " ${NODES[*]} " == *" $2 "* ]] || { echo "cluster-node.sh: no node $2; there are: ${NODES[*]}" >&2; exit 2; }
case $1 in
  kill) alive "$(node_pid "$2")" slurmd && kill -9 "$(cat "$(node_pid "$2")")" ;;
  crash) pids "$2" | xargs -r kill -9 ;;
  start) alive "$(node_pid "$2")" slurmd || start_node "$2" ;;
  pids) pids "$2" ;;
  *) usage ;;
esac
