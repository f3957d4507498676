"""Batch schedulers, one file each, behind the interface of `allocation.py`."""

SCHEDULERS = ("local",)  # those that there is a file for
