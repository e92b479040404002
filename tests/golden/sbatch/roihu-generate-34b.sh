#!/bin/bash

# Parameters
#SBATCH --account=project_462000001
#SBATCH --comment=kirjo:20250101T000000-abc123
#SBATCH --cpus-per-task=72
#SBATCH --dependency=afterok:1001
#SBATCH --gres=gpu:gh200:4
#SBATCH --job-name=generate
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/scratch/project_462000001/kirjo/store/jobs/20250101T000000-abc123/%j.log
#SBATCH --partition=gpumedium
#SBATCH --requeue
#SBATCH --signal=USR2@600
#SBATCH --time=720

# setup
cd /scratch/project_462000001/kirjo/store/code/0123456789abcdef || exit 1
export PYTHONPATH=/scratch/project_462000001/kirjo/store/code/0123456789abcdef
unset SLURM_CPU_BIND SLURM_CPU_BIND_VERBOSE SLURM_CPU_BIND_TYPE SLURM_CPU_BIND_LIST
export HF_HUB_OFFLINE=1
export OMP_NUM_THREADS=72
export TOKENIZERS_PARALLELISM=false
export HF_HOME=/scratch/project_462000001/huggingface
module load python-pytorch
source /projappl/project_462000001/kirjo/bin/activate

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /scratch/project_462000001/kirjo/store/jobs/20250101T000000-abc123/%j_%t_log.out --output=/scratch/project_462000001/kirjo/store/jobs/20250101T000000-abc123/%j.log --open-mode=append --cpus-per-task=72 --kill-on-bad-exit=1 --wait=60 python3 -u -m submitit.core._submit /scratch/project_462000001/kirjo/store/jobs/20250101T000000-abc123


# teardown
code=$?
cd /scratch/project_462000001/kirjo/store/jobs/20250101T000000-abc123 || exit $code
echo "$code" > "exit-${SLURM_ARRAY_TASK_ID:-0}"
if [ "$code" != 0 ] && [ -e "requeue-${SLURM_ARRAY_TASK_ID:-0}" ]; then
  rm -f "requeue-${SLURM_ARRAY_TASK_ID:-0}"
  scontrol requeue "$SLURM_JOB_ID" && exit 0
  echo "scontrol requeue failed: give python -m launchers retry --store /scratch/project_462000001/kirjo/store" >&2
fi
if [ -e /scratch/project_462000001/kirjo/store/jobs/waiting-for-room ]; then
  (export KIRJO_ENDING_JOB=$SLURM_JOB_ID; for name in "${!SLURM_@}" "${!SUBMITIT_@}" "${!SBATCH_@}"; do case $name in SLURM_CONF|SLURM_CLUSTERS) ;; *) unset "$name" ;; esac; done; cd /scratch/project_462000001/kirjo/store/code/0123456789abcdef && python3 -m launchers retry --waiting --store /scratch/project_462000001/kirjo/store) || true
fi
exit $code
