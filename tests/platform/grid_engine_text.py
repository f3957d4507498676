"""What Grid Engine 8.1.9 printed."""

from __future__ import annotations

QSTAT = """\
<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>11</JB_job_number>
      <JAT_prio>0.25001</JAT_prio>
      <JB_name>balsam-10</JB_name>
      <JB_owner>root</JB_owner>
      <state>r</state>
      <JAT_start_time>2026-11-30T14:50:21</JAT_start_time>
      <queue_name>batch@vm</queue_name>
      <slots>1</slots>
      <tasks>1</tasks>
      <full_job_name>balsam-10</full_job_name>
      <hard_req_queue>batch</hard_req_queue>
      <binding>NONE</binding>
    </job_list>
    <job_list state="running">
      <JB_job_number>17</JB_job_number>
      <JAT_prio>0.25001</JAT_prio>
      <JB_name>balsam-15</JB_name>
      <JB_owner>root</JB_owner>
      <state>r</state>
      <JAT_start_time>2026-11-30T14:50:22</JAT_start_time>
      <queue_name>batch@vm</queue_name>
      <slots>1</slots>
      <full_job_name>balsam-15</full_job_name>
      <hard_req_queue>batch</hard_req_queue>
      <binding>NONE</binding>
    </job_list>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>7</JB_job_number>
      <JAT_prio>0.75000</JAT_prio>
      <JB_name>balsam-6</JB_name>
      <JB_owner>root</JB_owner>
      <state>qw</state>
      <JB_submission_time>2026-11-30T14:50:21</JB_submission_time>
      <queue_name></queue_name>
      <slots>100</slots>
      <full_job_name>balsam-6</full_job_name>
      <requested_pe name="mpi">100</requested_pe>
      <hard_req_queue>batch</hard_req_queue>
      <binding>NONE</binding>
    </job_list>
    <job_list state="pending">
      <JB_job_number>5</JB_job_number>
      <JAT_prio>0.25001</JAT_prio>
      <JB_name>balsam-4</JB_name>
      <JB_owner>root</JB_owner>
      <state>qw</state>
      <JB_submission_time>2026-11-30T14:50:21</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>
      <full_job_name>balsam-4</full_job_name>
      <hard_request name="h_rt" resource_contribution="0.000000">3600</hard_request>
      <hard_req_queue>debug</hard_req_queue>
      <binding>NONE</binding>
    </job_list>
    <job_list state="pending">
      <JB_job_number>10</JB_job_number>
      <JAT_prio>0.25000</JAT_prio>
      <JB_name>balsam-9</JB_name>
      <JB_owner>root</JB_owner>
      <state>Eqw</state>
      <JB_submission_time>2026-11-30T14:50:21</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>
      <full_job_name>balsam-9</full_job_name>
      <hard_req_queue>batch</hard_req_queue>
      <binding>NONE</binding>
    </job_list>
    <job_list state="pending">
      <JB_job_number>19</JB_job_number>
      <JAT_prio>0.25000</JAT_prio>
      <JB_name>balsam-17</JB_name>
      <JB_owner>root</JB_owner>
      <state>Eqw</state>
      <JB_submission_time>2026-11-30T14:50:22</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>
      <full_job_name>balsam-17</full_job_name>
      <hard_req_queue>batch</hard_req_queue>
      <binding>NONE</binding>
    </job_list>
    <job_list state="pending">
      <JB_job_number>15</JB_job_number>
      <JAT_prio>0.25000</JAT_prio>
      <JB_name>balsam-13</JB_name>
      <JB_owner>root</JB_owner>
      <state>Eqw</state>
      <JB_submission_time>2026-11-30T14:50:22</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>
      <full_job_name>balsam-13</full_job_name>
      <hard_req_queue>batch</hard_req_queue>
      <binding>NONE</binding>
    </job_list>
    <job_list state="pending">
      <JB_job_number>14</JB_job_number>
      <JAT_prio>0.25000</JAT_prio>
      <JB_name>balsam-12</JB_name>
      <JB_owner>root</JB_owner>
      <state>Rq</state>
      <JB_submission_time>2026-11-30T14:50:26</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>
      <full_job_name>balsam-12</full_job_name>
      <hard_req_queue>batch</hard_req_queue>
      <binding>NONE</binding>
    </job_list>
    <job_list state="pending">
      <JB_job_number>8</JB_job_number>
      <JAT_prio>0.00000</JAT_prio>
      <JB_name>balsam-7</JB_name>
      <JB_owner>root</JB_owner>
      <state>hqw</state>
      <JB_submission_time>2026-11-30T14:50:21</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>
      <full_job_name>balsam-7</full_job_name>
      <hard_req_queue>batch</hard_req_queue>
      <binding>NONE</binding>
    </job_list>
    <job_list state="pending">
      <JB_job_number>11</JB_job_number>
      <JAT_prio>0.00000</JAT_prio>
      <JB_name>balsam-10</JB_name>
      <JB_owner>root</JB_owner>
      <state>qw</state>
      <JB_submission_time>2026-11-30T14:50:21</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>
      <tasks>2-4:1</tasks>
      <full_job_name>balsam-10</full_job_name>
      <hard_req_queue>batch</hard_req_queue>
      <binding>NONE</binding>
    </job_list>
  </job_info>
</job_info>
"""
QACCT_1 = """\
==============================================================
qname        batch
hostname     vm
group        root
owner        root
project      proj1
department   defaultdepartment
jobname      balsam-1
jobnumber    1
taskid       undefined
account      sge
priority     0
qsub_time    Mon Nov 30 14:50:20 2026
start_time   Mon Nov 30 14:50:21 2026
end_time     Mon Nov 30 14:50:22 2026
granted_pe   mpi
slots        2
failed       0
exit_status  0
ru_wallclock 1s
ru_utime     0.010s
ru_stime     0.001s
ru_maxrss    4.906KB
ru_ixrss     0.000B
ru_ismrss    0.000B
ru_idrss     0.000B
ru_isrss     0.000B
ru_minflt    908
ru_majflt    0
ru_nswap     0
ru_inblock   0
ru_oublock   24
ru_msgsnd    0
ru_msgrcv    0
ru_nsignals  0
ru_nvcsw     10
ru_nivcsw    5
cpu          0.012s
mem          0.000Bs
io           25.166KB
iow          0.000s
maxvmem      4.898MB
arid         undefined
ar_sub_time  undefined
category     -q batch -l h_rt=300 -pe mpi 2
"""
QACCT_10 = """\
==============================================================
qname        batch
hostname     vm
group        root
owner        root
project      NONE
department   defaultdepartment
jobname      balsam-9
jobnumber    10
taskid       undefined
account      sge
priority     0
qsub_time    Mon Nov 30 14:50:21 2026
start_time   -/-
end_time     -/-
granted_pe   NONE
slots        1
failed       28  : changing into working directory
exit_status  0
ru_wallclock 0s
ru_utime     0.000s
ru_stime     0.000s
ru_maxrss    0.000B
ru_ixrss     0.000B
ru_ismrss    0.000B
ru_idrss     0.000B
ru_isrss     0.000B
ru_minflt    0
ru_majflt    0
ru_nswap     0
ru_inblock   0
ru_oublock   0
ru_msgsnd    0
ru_msgrcv    0
ru_nsignals  0
ru_nvcsw     0
ru_nivcsw    0
cpu          0.000s
mem          0.000Bs
io           0.000B
iow          0.000s
maxvmem      0.000B
arid         undefined
ar_sub_time  undefined
category     -q batch
"""
