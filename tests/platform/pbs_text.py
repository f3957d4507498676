"""What `qstat -f` prints, as OpenPBS 23.06.06 printed it."""

from __future__ import annotations

ENDED_WITH_7 = """\
Job Id: 1.pbs1
    Job_Name = balsam-2
    Job_Owner = root@pbs1
    resources_used.cpupercent = 0
    resources_used.cput = 00:00:00
    resources_used.mem = 0kb
    resources_used.ncpus = 1
    resources_used.vmem = 0kb
    resources_used.walltime = 00:00:00
    job_state = E
    queue = workq
    server = pbs1
    Checkpoint = u
    ctime = Mon Nov 30 15:23:32 2026
    depend = beforeok:18.pbs1@pbs1
    Error_Path = pbs1:/home/u/work/balsam-2.e1
    exec_host = n1/1
    exec_vnode = (n1:ncpus=1)
    Hold_Types = n
    Join_Path = n
    Keep_Files = n
    Mail_Points = a
    mtime = Mon Nov 30 15:23:33 2026
    Output_Path = pbs1:/home/u/work/balsam-2.o1
    Priority = 0
    qtime = Mon Nov 30 15:23:32 2026
    Rerunable = True
    Resource_List.ncpus = 1
    Resource_List.nodect = 1
    Resource_List.place = free
    Resource_List.select = 1:ncpus=1
    Resource_List.walltime = 00:05:00
    schedselect = 1:ncpus=1
    stime = Mon Nov 30 15:23:32 2026
    jobdir = /root
    substate = 51
    Variable_List = PBS_O_HOME=/root,PBS_O_LANG=C.UTF-8,
	PBS_O_PATH=/usr/bin:/bin,PBS_O_SHELL=/bin/bash,
	PBS_O_INTERACTIVE_AUTH_METHOD=resvport,
	PBS_O_INTERACTIVE_ENCRYPT_METHOD=,
	PBS_O_WORKDIR=/home/u/work,PBS_O_SYSTEM=Linux,
	PBS_O_QUEUE=workq,PBS_O_HOST=pbs1
    euser = root
    egroup = root
    hashname = 1.pbs1
    queue_rank = 1796052212340115
    queue_type = E
    comment = Job run at Mon Nov 30 at 15:23 on (n1:ncpus=1)
    etime = Mon Nov 30 15:23:32 2026
    run_count = 1
    Exit_status = 7
    Submit_arguments = -N balsam-2 -q workq -l select=1:ncpus=1 -l walltime=00:
	05:00 fail.sh
    project = _pbs_project_default
    run_version = 1
    Submit_Host = pbs1

"""


def shown(scheduler_id: str, name: str, state: str, **attributes: str) -> str:
    """One allocation: what is always there, and these attributes."""
    known = {
        "Job_Name": name,
        "Job_Owner": "me@pbs1",
        "job_state": state,
        "queue": "workq",
        "ctime": "Mon Nov 30 15:23:32 2026",
        "mtime": "Mon Nov 30 15:23:34 2026",
        "qtime": "Mon Nov 30 15:23:32 2026",
        "Resource_List.nodect": "2",
        "Variable_List": "PBS_O_HOME=/root,PBS_O_LANG=C.UTF-8,\n\tPBS_O_PATH=/usr/bin:/bin",
        **attributes,
    }
    return f"Job Id: {scheduler_id}\n" + "".join(f"    {k} = {v}\n" for k, v in known.items()) + "\n"
