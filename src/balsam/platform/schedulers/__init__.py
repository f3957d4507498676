"""Batch schedulers, one file each: data and pure functions, behind the interface of `batch_system.py`."""

SCHEDULERS = ("local", "slurm", "pbs", "lsf", "flux", "grid_engine")  # those that there is a file for
