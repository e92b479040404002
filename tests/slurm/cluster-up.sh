#!/usr/bin/env bash
# Starts a real two-node SLURM cluster on this one machine: munged, slurmctld, and a slurmd for each node.
#
#   tests/slurm/cluster-up.sh              as root, on Debian or Ubuntu: installs slurm-wlm and munge if they are not there
#   CLUSTER_MIN_JOB_AGE=60 tests/slurm/cluster-up.sh       settings.sh names all variables
#
# Calling it again does nothing, or brings back what has died; with other values it restarts the daemons (jobs survive
# that, as they do on a real cluster). A SLURM of another origin is used as it is, never changed; CLUSTER_REPLACE=1 overrules.
set -euo pipefail
source "$(dirname "$0")/settings.sh"

main() {
  if ! ours && [[ -s $CONF && ${CLUSTER_REPLACE:-0} != 1 ]]; then
    timeout 20 sinfo && exit 0
    fail "$CONF belongs to another SLURM, which does not answer: start that one, or CLUSTER_REPLACE=1 to write over it"
  fi
  [[ $(id -u) == 0 ]] || fail "needs root, to start the daemons of a cluster"
  install_packages
  mkdir -p "$(dirname "$CONF")" "$FOLDER"/{state,log,run}
  start_munge
  local before
  before=$(cat "$CONF" "$(dirname "$CONF")/gres.conf" 2>/dev/null || true)
  write_configuration
  [[ $before == "$(cat "$CONF" "$(dirname "$CONF")/gres.conf")" ]] || stop_all
  start_all
  wait_for_nodes
  sinfo
}

fail() {
  echo "cluster-up.sh: $*" >&2
  exit 1
}

install_packages() {
  command -v slurmctld slurmd munged sbatch >/dev/null && return
  command -v apt-get >/dev/null || fail "slurmctld, slurmd, munged or sbatch is not installed, and there is no apt-get"
  apt-get update -qq || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null ||
    fail "apt-get could not install slurm-wlm and munge"
}

start_munge() {
  if [[ ! -s /etc/munge/munge.key ]]; then
    (umask 077 && head -c 1024 /dev/urandom >/etc/munge/munge.key)
    chown munge: /etc/munge/munge.key
  fi
  munge -n 2>/dev/null | unmunge >/dev/null 2>&1 && return
  mkdir -p /run/munge
  chown munge: /run/munge
  runuser -u munge -- munged
}

write_configuration() {
  local host name port=17001 gpu
  host=$(hostname -s)
  # SLURM tells jobs their GPUs (CUDA_VISIBLE_DEVICES) only if they are devices: these are null devices by another name.
  # Where none may be made (some containers) an empty file does for counting them.
  for ((gpu = 0; gpu < GPUS; gpu++)); do
    [[ -c $FOLDER/gpu$gpu ]] && continue
    rm -f "$FOLDER/gpu$gpu"
    mknod -m 666 "$FOLDER/gpu$gpu" c 1 3 2>/dev/null || touch "$FOLDER/gpu$gpu"
  done
  {
    for name in "${NODES[@]}"; do
      echo "NodeName=$name Name=gpu File=$FOLDER/gpu[0-$((GPUS - 1))]"
    done
  } >"$(dirname "$CONF")/gres.conf"
  {
    cat <<C
$MARK
ClusterName=kirjo
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire: man slurm.conf, "also controls how long a requeued job must wait before starting again".
AuthInfo=cred_expire=$REQUEUE_DELAY
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool.%n
SlurmctldPidFile=$(controller_pid)
SlurmdPidFile=$(node_pid %n)
SlurmctldLogFile=$FOLDER/log/slurmctld.log
SlurmdLogFile=$(node_log %n)
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=$SCHEDULE_EVERY,sched_interval=$SCHEDULE_EVERY
# No accounting, hence no sacct, as on some sites: squeue and scontrol have to do.
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
JobRequeue=1
OverTimeLimit=0
SlurmdTimeout=$SLURMD_TIMEOUT
KillWait=$KILL_WAIT
MinJobAge=$MIN_JOB_AGE
MaxArraySize=$MAX_ARRAY
MaxJobCount=$MAX_JOBS
FirstJobId=$FIRST_JOB
GresTypes=gpu
C
    for name in "${NODES[@]}"; do
      echo "NodeName=$name NodeHostname=$host NodeAddr=127.0.0.1 Port=$port CPUs=$CPUS RealMemory=$MEMORY_MB Gres=gpu:$GPUS"
      port=$((port + 1))
    done
    echo "PartitionName=$PARTITION Nodes=ALL Default=YES MaxTime=2-00:00:00 State=UP"
    echo "PartitionName=short Nodes=ALL MaxTime=$SHORT_MIN State=UP"
  } >"$CONF"
}

stop_all() {
  local name
  for name in "${NODES[@]}"; do stop "$(node_pid "$name")" slurmd; done
  stop "$(controller_pid)" slurmctld
}

start_all() {
  local name
  alive "$(controller_pid)" slurmctld || start_controller
  for name in "${NODES[@]}"; do
    alive "$(node_pid "$name")" slurmd || start_node "$name"
  done
}

# A node is there once it is idle or at work; unknown*, down and drained nodes are not.
wait_for_nodes() {
  local until=$((SECONDS + WAIT_FOR_NODES))
  while ((SECONDS < until)); do
    [[ $(sinfo -h -N -p "$PARTITION" -t idle,alloc,mix,comp -o '%N %T' 2>/dev/null | grep -vc '[*]') == "${#NODES[@]}" ]] && return
    sleep 0.5
  done
  sinfo >&2 || true
  tail -n 5 "$FOLDER"/log/*.log >&2 || true
  fail "not all nodes answer after $WAIT_FOR_NODES s; the end of the logs stands above"
}

main
