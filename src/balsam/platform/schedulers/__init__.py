"""Batch schedulers, one file each, behind the interface of `allocation.py`."""
