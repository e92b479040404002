#!/bin/bash

# Parameters
#SBATCH --account=project_462000001
#SBATCH --comment=kirjo:20250101T000000-abc123
#SBATCH --cpus-per-task=7
#SBATCH --dependency=afterok:1001
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --job-name=sft
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=480G
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=8
#SBATCH --open-mode=append
#SBATCH --output=/scratch/project_462000001/kirjo/store/jobs/20250101T000000-abc123/%j.log
#SBATCH --partition=standard-g
#SBATCH --requeue
#SBATCH --signal=USR2@600
#SBATCH --time=720

# setup
cd /scratch/project_462000001/kirjo/store/code/0123456789abcdef || exit 1
export PYTHONPATH=/scratch/project_462000001/kirjo/store/code/0123456789abcdef
unset SLURM_CPU_BIND SLURM_CPU_BIND_VERBOSE SLURM_CPU_BIND_TYPE SLURM_CPU_BIND_LIST
export HF_HUB_OFFLINE=1
export NCCL_SOCKET_IFNAME=hsn0,hsn1,hsn2,hsn3
export NCCL_NET_GDR_LEVEL=3
export CXI_FORK_SAFE=1
export CXI_FORK_SAFE_HP=1
export FI_CXI_DISABLE_CQ_HUGETLB=1
export FI_CXI_DEFAULT_CQ_SIZE=262144
export HSA_FORCE_FINE_GRAIN_PCIE=1
export HSA_ENABLE_SDMA=0
export OMP_NUM_THREADS=7
export TOKENIZERS_PARALLELISM=false
export HF_HOME=/scratch/project_462000001/huggingface
module use /appl/local/csc/modulefiles
module load pytorch/2.7
source /project/project_462000001/kirjo/bin/activate
export MIOPEN_USER_DB_PATH=/tmp/$USER-miopen-cache-$SLURM_JOB_ID
export MIOPEN_CUSTOM_CACHE_DIR=$MIOPEN_USER_DB_PATH
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
getent hosts "$MASTER_ADDR" > /dev/null || export MASTER_ADDR=$(hostname)
export MASTER_PORT=$((10000 + SLURM_JOB_ID % 10000))

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /scratch/project_462000001/kirjo/store/jobs/20250101T000000-abc123/%j_%t_log.out --output=/scratch/project_462000001/kirjo/store/jobs/20250101T000000-abc123/%j.log --open-mode=append --cpus-per-task=7 --kill-on-bad-exit=1 --wait=60 --cpu-bind=mask_cpu:fe000000000000,fe00000000000000,fe0000,fe000000,fe,fe00,fe00000000,fe0000000000 python3 -u -m submitit.core._submit /scratch/project_462000001/kirjo/store/jobs/20250101T000000-abc123


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
