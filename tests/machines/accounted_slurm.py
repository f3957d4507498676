"""A real Slurm with accounting: a database, slurmdbd, accounts, QOS with limits, and preemption."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from examples.slurm.cluster import SlurmCluster, need_programs
from tests.services import free_port
from tests.waiting import wait_until

CONF = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting}
AccountingStoragePass=socket={folder}/run/munge.socket
AccountingStorageEnforce=associations,limits,qos
JobAcctGatherType=jobacct_gather/none
PriorityType=priority/multifactor
PriorityWeightQOS=1000
PreemptType=preempt/qos
PreemptMode=REQUEUE
JobRequeue=1
Prolog={folder}/etc/prolog
MinJobAge=10
KillWait=3
PartitionName=tiny Nodes={first} MaxTime=00:01:00 MaxNodes=1 State=UP
PartitionName=closed Nodes=ALL MaxTime=01:00:00 State=DOWN
"""
# What the lines above take the place of, in the configuration without accounting.
REPLACED = r"^(JobAcctGatherType|AccountingStorageType|KillWait)=.*\n"

DBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
PidFile={folder}/run/slurmdbd.pid
LogFile={folder}/log/slurmdbd.log
"""

QOS = (
    ("low", "Priority=1", "PreemptMode=requeue"),
    ("high", "Priority=1000", "Preempt=low"),
    ("one", "MaxSubmitJobsPerUser=1", "Flags=DenyOnLimit"),
)


class AccountedSlurm(SlurmCluster):
    """Eight nodes; account acct1; QOS low, which high preempts, and one, of a single submission.

    Partitions: debug with all nodes, tiny for a minute, closed. It needs root, whose database server runs as
    the user mysql.
    """

    def __init__(self) -> None:
        super().__init__(nodes=8, cpus=4)
        self._ports = {"accounting": free_port(), "database": free_port()}
        self._password = secrets.token_hex(16)
        self._database: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        for stopped in ("slurmctld", "slurmdbd"):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                os.kill(self.pid(stopped), signal.SIGCONT)
        super().stop()
        if self._database is not None:
            self._database.terminate()
            self._database.wait(60)
            shutil.rmtree(self.folder, ignore_errors=True)

    def pid(self, daemon: str) -> int:
        return int((self.folder / "run" / f"{daemon}.pid").read_text())

    def stop_daemon(self, daemon: str) -> None:
        """As when its host goes away for a while: `start_daemon` brings it back."""
        pid = self.pid(daemon)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), timeout=60)

    @contextlib.contextmanager
    def failing_prolog(self) -> Iterator[None]:
        """Nodes can't be made ready for a while; Slurm drains those on which that was seen."""
        sign = self.folder / "etc" / "prolog-fails"
        sign.touch()
        try:
            yield
        finally:
            sign.unlink()
            for node in self.nodes:
                with contextlib.suppress(AssertionError):  # one that is not drained can't be resumed
                    self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
            wait_until(self._idle, timeout=60, on_timeout=self._logs)

    def start_daemon(self, daemon: str, *words: str) -> None:
        self.run(daemon, *words)

    def _configure(self) -> None:
        need_programs("mariadb-server slurmdbd", "mariadbd", "slurmdbd", "sacctmgr")
        super()._configure()
        facts = {"folder": self.folder, "password": self._password, "first": self.nodes[0], **self._ports}
        etc = self.folder / "etc"
        conf = etc / "slurm.conf"
        conf.write_text(re.sub(REPLACED, "", conf.read_text(), flags=re.M) + CONF.format(**facts))
        (etc / "slurmdbd.conf").write_text(DBD_CONF.format(**facts))
        (etc / "slurmdbd.conf").chmod(0o600)
        (etc / "prolog").write_text(f"#!/bin/sh\ntest ! -e {etc}/prolog-fails\n")
        (etc / "prolog").chmod(0o755)

    def _start(self) -> None:
        self._start_munge()
        self._start_database()
        self.run("slurmdbd")
        wait_until(self._accounting_answers, timeout=60, on_timeout=self._logs)
        self._make_accounts()
        self._start_slurm()

    def _start_database(self) -> None:
        data = self.folder / "db"
        data.mkdir()
        self.run("chown", "mysql", str(data))
        plain = ("--no-defaults", "--user=mysql", f"--datadir={data}")
        self.run("mariadb-install-db", *plain, "--auth-root-authentication-method=socket", "--skip-test-db")
        with (self.folder / "log" / "mariadb.log").open("wb") as log:
            self._database = subprocess.Popen(
                [
                    *("mariadbd", *plain, f"--socket={data}/mysql.sock", f"--pid-file={data}/mariadb.pid"),
                    *("--bind-address=127.0.0.1", f"--port={self._ports['database']}"),
                    *("--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: self._sql("select 1") == 0, timeout=60, on_timeout=self._logs)
        made = ["create database slurm_acct_db"]
        for host in ("127.0.0.1", "localhost"):
            made.append(f"create user slurm@'{host}' identified by '{self._password}'")
            made.append(f"grant all on slurm_acct_db.* to slurm@'{host}'")
        assert self._sql(";".join(made)) == 0

    def _sql(self, text: str) -> int:
        words = ["mariadb", "--no-defaults", f"--socket={self.folder}/db/mysql.sock", "-e", text]
        return subprocess.run(words, capture_output=True, check=False, timeout=60).returncode

    def _accounting_answers(self) -> bool:
        words = ["sacctmgr", "-n", "show", "cluster"]
        done = subprocess.run(words, env=self.environment, capture_output=True, check=False, timeout=60)
        return done.returncode == 0

    def _make_accounts(self) -> None:
        self.run("sacctmgr", "-i", "add", "cluster", "test")
        for account in ("acct1", "other"):
            self.run("sacctmgr", "-i", "add", "account", account, "Description=a", "Organization=o")
        for name, *limits in QOS:
            flags = [word for word in limits if word.startswith("Flags")]
            self.run("sacctmgr", "-i", "add", "qos", name, *(w for w in limits if w not in flags))
            if flags:
                self.run("sacctmgr", "-i", "modify", "qos", name, "set", *flags)
        names = ",".join(["normal", *(name for name, *_ in QOS)])
        self.run(
            "sacctmgr", "-i", "add", "user", "root", "account=acct1", f"qos={names}", "defaultqos=normal"
        )
