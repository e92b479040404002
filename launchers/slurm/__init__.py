"""launcher=slurm: the plan as jobs of a SLURM cluster, submitted through submitit."""
