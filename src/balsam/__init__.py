"""Balsam: define applications, queue runs, get nodes for them, and see how well the nodes were used."""
