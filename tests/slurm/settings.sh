# What the three cluster scripts share. Each CLUSTER_* can be set in the environment, for cluster-up.sh to write down.
# shellcheck shell=bash disable=SC2034
FOLDER=${CLUSTER_FOLDER:-/var/lib/kirjo-slurm}        # state, spools, logs and pid files of the daemons
CONF=/etc/slurm/slurm.conf                    # where every SLURM command looks
MARK="# Written by Kirjo's tests/slurm/cluster-up.sh; edits are lost."

NODES=(${CLUSTER_NODES:-nid000001 nid000002})
CPUS=${CLUSTER_CPUS:-4}                               # a node; all nodes share this machine's real cores
GPUS=${CLUSTER_GPUS:-8}                               # a node; pretended: SLURM counts them, nothing can compute on them
MEMORY_MB=${CLUSTER_MEMORY_MB:-8000}                  # a node
PARTITION=${CLUSTER_PARTITION:-standard-g}            # the default partition, two days
SHORT_MIN=${CLUSTER_SHORT_MIN:-2}                     # walltime limit of the partition "short", minutes

# SLURM's own values are made for real machines; these let a test see in seconds what takes minutes there.
SLURMD_TIMEOUT=${CLUSTER_SLURMD_TIMEOUT:-30}          # seconds until a silent node is DOWN and its jobs are requeued (300)
KILL_WAIT=${CLUSTER_KILL_WAIT:-10}                    # seconds from SIGTERM at the walltime's end to SIGKILL (30)
MIN_JOB_AGE=${CLUSTER_MIN_JOB_AGE:-120}               # seconds that squeue and scontrol know an ended job (300)
REQUEUE_DELAY=${CLUSTER_REQUEUE_DELAY:-20}            # seconds a requeued job waits (120): the lifetime of its credential
SCHEDULE_EVERY=${CLUSTER_SCHEDULE_EVERY:-5}           # seconds between looks at the whole queue (60)
MAX_ARRAY=${CLUSTER_MAX_ARRAY:-1001}                  # the highest index of an array, plus one (1001)
MAX_JOBS=${CLUSTER_MAX_JOBS:-10000}                   # jobs the controller holds at a time (10000)
FIRST_JOB=${CLUSTER_FIRST_JOB:-1}                     # number of the first job of a new cluster (1)
WAIT_FOR_NODES=${CLUSTER_WAIT_FOR_NODES:-60}          # seconds cluster-up.sh gives the nodes to answer

controller_pid() { echo "$FOLDER/run/slurmctld.pid"; }
node_pid() { echo "$FOLDER/run/slurmd.$1.pid"; }
node_log() { echo "$FOLDER/log/slurmd.$1.log"; }

# alive PIDFILE PROGRAM: is the process of this pid file there, and is it that program?
alive() {
  [[ -s $1 && $(cat "/proc/$(cat "$1")/comm" 2>/dev/null) == "$2" ]]
}

# stop PIDFILE PROGRAM: ask it to end, and wait until it has.
stop() {
  alive "$1" "$2" || return 0
  kill "$(cat "$1")"
  for _ in $(seq 100); do
    alive "$1" "$2" || return 0
    sleep 0.1
  done
  echo "$2 ($(cat "$1")) does not end" >&2
  return 1
}

# A bare environment, so that nothing of this shell reaches jobs by way of the daemons.
start_node() { env -i PATH="$PATH" slurmd -N "$1"; }
start_controller() { env -i PATH="$PATH" slurmctld; }

ours() {
  [[ -s $CONF && $(head -n 1 "$CONF") == "$MARK" ]]
}
