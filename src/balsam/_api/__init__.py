"""The names under which scripts for Balsam 0.7 import what `balsam.api` has."""
