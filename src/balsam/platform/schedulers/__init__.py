"""Batch schedulers, one file each: data and pure functions, behind the interface of `batch_system.py`."""

SCHEDULERS = ("local", "slurm", "pbs")  # those that there is a file for
