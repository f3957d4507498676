"""What each MPI launcher is told to do, as argument lists."""

from __future__ import annotations

import pytest

from balsam.platform.mpi import UnknownLauncher, find, launcher_name, launcher_names
from balsam.platform.mpi.gpus import gpu_environment
from balsam.platform.mpi.launch import Host, Launch, LaunchError
from balsam.platform.mpi.refusals import wrong_launcher

TWO_NODES = (Host("nid1", (0, 1, 2, 3)), Host("nid2", (0, 1, 2, 3)))
SECRET = {"TOKEN": "sesame", "A": "1"}
REAL = [name for name in launcher_names() if name != "local"]


def line(launcher: str, launch: Launch) -> str:
    return " ".join(find(launcher).command(launch))


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        (
            "openmpi",
            "mpirun -n 4 --host nid1:2,nid2:2 --map-by ppr:2:node:OVERSUBSCRIBE --bind-to none -x A -x TOKEN "
            'sh -c eval "cpus=\\${$((OMPI_COMM_WORLD_LOCAL_RANK + 1))}"; shift "$0" && '
            'exec taskset -c "$cpus" "$@" 2 0,1 2,3 prog in',
        ),
        ("mpich", "mpiexec.hydra -n 4 -hosts nid1,nid2 -ppn 2 -bind-to user:0+1,2+3 -genvall prog in"),
        (
            "srun",
            "srun --nodes=2 --ntasks=4 --ntasks-per-node=2 --nodelist=nid1,nid2 --overlap --overcommit "
            "--mem=0 --export=ALL --cpu-bind=mask_cpu:0x3,0xc --kill-on-bad-exit=1 prog in",
        ),
        ("pals", "mpiexec -n 4 --ppn 2 --hosts nid1,nid2 --envall --cpu-bind list:0,1:2,3 prog in"),
    ],
)
def test_ranks_are_spread_over_hosts_and_bound_to_cpus_of_their_own(launcher: str, expected: str) -> None:
    launch = Launch(["prog", "in"], TWO_NODES, ranks_per_node=2, threads_per_rank=2, environment=SECRET)
    assert line(launcher, launch) == expected


def test_hydra_binds_no_ranks_that_have_their_nodes_to_themselves() -> None:
    whole = Host("nid1", (0, 1), whole=True)
    assert "-bind-to none" in line("mpich", Launch(["prog"], [whole], ranks_per_node=2))
    shared = Host("nid2", (0, 1))
    assert "-bind-to user:0,1" in line("mpich", Launch(["prog"], [whole, shared], ranks_per_node=2))


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        ("openmpi", "mpirun -n 8 --host nid1:8 --map-by ppr:8:node:OVERSUBSCRIBE --bind-to none prog"),
        ("mpich", "mpiexec.hydra -n 8 -hosts nid1 -ppn 8 -bind-to none -genvall prog"),
        (
            "srun",
            "srun --nodes=1 --ntasks=8 --ntasks-per-node=8 --nodelist=nid1 --overlap --overcommit --mem=0 "
            "--export=ALL --cpu-bind=none --kill-on-bad-exit=1 prog",
        ),
        ("pals", "mpiexec -n 8 --ppn 8 --hosts nid1 --envall --depth 3 --cpu-bind depth prog"),
    ],
)
def test_more_ranks_than_known_cpus_are_not_bound_to_single_ones(launcher: str, expected: str) -> None:
    for cpus in [(), (0, 1, 2, 3)]:
        launch = Launch(["prog"], [Host("nid1", cpus)], ranks_per_node=8, threads_per_rank=3)
        assert line(launcher, launch) == expected


def test_cpus_are_divided_among_a_nodes_ranks_only_where_all_hosts_have_the_same() -> None:
    host = Host("a", (8, 9, 10, 11, 12))
    assert Launch(["p"], [host], ranks_per_node=2).cpu_sets == ((8, 9), (10, 11))
    assert Launch(["p"], [host, Host("b", host.cpus)], ranks_per_node=5).cpu_sets == (
        *((8,), (9,), (10,)),
        *((11,), (12,)),
    )
    assert Launch(["p"], [host, Host("b", (0, 1, 2, 3, 4))]).cpu_sets == ()


@pytest.mark.parametrize("launcher", REAL)
def test_values_of_variables_never_stand_on_the_line(launcher: str) -> None:
    text = line(launcher, Launch(["prog"], TWO_NODES, ranks_per_node=2, environment=SECRET))
    assert "sesame" not in text
    assert ("-x TOKEN" in text) == (launcher == "openmpi")


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        ("openmpi", ["--report-bindings", "--bind-to", "core", "--mca", "btl", "tcp,self", "-v", "prog"]),
        ("mpich", ["-report-bindings", "-bind-to", "core", "--mca", "btl", "tcp,self", "-v", "prog"]),
        ("pals", ["--report-bindings", "--bind-to", "core", "--mca", "btl", "tcp,self", "-v", "prog"]),
        ("srun", ["--report-bindings", "--bind-to=core", "--mca=btl tcp,self", "-v", "prog"]),
    ],
)
def test_launch_params_are_the_last_options_in_the_launchers_own_way(
    launcher: str, expected: list[str]
) -> None:
    params = {"report_bindings": "", "bind_to": "core", "--mca": "btl tcp,self", "v": ""}
    launch = Launch(["prog"], [Host("nid1")], params=params)
    assert find(launcher).command(launch)[-len(expected) :] == expected


def test_a_launch_param_takes_the_place_of_the_lines_own_option() -> None:
    host = Host("nid1", (0, 1))
    text = line("srun", Launch(["prog"], [host], params={"cpu_bind": "cores", "mem": "4G", "n": "3"}))
    assert text.endswith("--overcommit --export=ALL --kill-on-bad-exit=1 --cpu-bind=cores --mem=4G -n 3 prog")
    text = line(
        "openmpi", Launch(["prog"], [host], environment=SECRET, params={"bind_to": "socket", "x": "B"})
    )
    assert text.endswith("OVERSUBSCRIBE -x A -x TOKEN --bind-to socket -x B prog")
    text = line("pals", Launch(["prog"], [Host("nid1")], params={"cpu_bind": "verbose,depth", "depth": "8"}))
    assert text.endswith("--envall --cpu-bind verbose,depth --depth 8 prog")


@pytest.mark.parametrize(
    ("params", "sentence"),
    [({"x": "it's"}, "a quote in it is not closed"), ({"--": "1"}, "'--' is no name of an option")],
)
def test_launch_params_that_make_no_option_are_refused(params: dict[str, str], sentence: str) -> None:
    with pytest.raises(LaunchError, match=sentence):
        find("openmpi").command(Launch(["prog"], [Host("nid1")], params=params))


@pytest.mark.parametrize(
    ("maker", "variable"),
    [
        ("nvidia", "CUDA_VISIBLE_DEVICES"),
        ("intel", "ZE_AFFINITY_MASK"),
        ("amd", "ROCR_VISIBLE_DEVICES"),
    ],
)
def test_a_runs_gpus_are_named_by_their_makers_variable(maker: str, variable: str) -> None:
    assert gpu_environment(maker, ("1", "3")) == {variable: "1,3"}
    assert gpu_environment(maker, ()) == {}


def test_srun_names_a_runs_gpus_after_slurm_has_named_all_of_them() -> None:
    environment = {**gpu_environment("nvidia", ("1", "3")), **SECRET}
    text = line("srun", Launch(["prog"], [Host("nid1", gpus=("1", "3"))], environment=environment))
    assert text.endswith("--kill-on-bad-exit=1 env CUDA_VISIBLE_DEVICES=1,3 prog")


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        (
            "openmpi",
            "mpirun -n 2 --host nid1:1,nid2:1 --map-by ppr:1:node:OVERSUBSCRIBE --bind-to none "
            "--mca orte_abort_on_non_zero_status 0 --enable-recovery -x PATH work 1",
        ),
        (
            "mpich",
            "mpiexec.hydra -n 2 -hosts nid1,nid2 -ppn 1 -bind-to none -disable-auto-cleanup -genvall work 1",
        ),
        (
            "srun",
            "srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --nodelist=nid1,nid2 --overlap --overcommit "
            "--mem=0 --export=ALL --cpu-bind=none --kill-on-bad-exit=0 --wait=0 --no-kill work 1",
        ),
        (
            "pals",
            "mpiexec -n 2 --ppn 1 --hosts nid1,nid2 --envall --cpu-bind none --no-abort-on-failure "
            "--line-buffer work 1",
        ),
    ],
)
def test_workers_are_one_process_for_each_node(launcher: str, expected: str) -> None:
    words = find(launcher).worker_command(["nid1", "nid2"], ["work", "1"], ["PATH"])
    assert " ".join(words) == expected


def test_without_mpi_one_process_is_the_program_itself_and_more_are_refused() -> None:
    local = find("local")
    assert local.command(Launch(["prog", "in"], [Host("here")])) == ["prog", "in"]
    assert local.worker_command(["here"], ["work"]) == ["work"]
    for launch in (Launch(["p"], [Host("a")], ranks_per_node=2), Launch(["p"], [Host("a"), Host("b")])):
        with pytest.raises(LaunchError, match=r"it asks for 2 ranks.*set launcher\.mpi_app_launcher"):
            local.command(launch)
    with pytest.raises(LaunchError, match=r"it has launch_params \(a\)"):
        local.command(Launch(["p"], [Host("a")], params={"a": "1"}))
    with pytest.raises(LaunchError, match="there are 2 nodes"):
        local.worker_command(["a", "b"], ["work"])


@pytest.mark.parametrize(
    ("name", "launcher"),
    [
        *((name, name) for name in launcher_names()),
        ("balsam.platform.app_run.MPICHRun", "mpich"),
        ("balsam.platform.app_run.app_run.AppRun", "mpich"),
        ("balsam.platform.app_run.OpenMPIRun", "openmpi"),
        ("balsam.platform.app_run.SlurmRun", "srun"),
        ("balsam.platform.app_run.PolarisRun", "pals"),
        ("balsam.platform.app_run.AuroraRun", "pals"),
        ("balsam.platform.app_run.LocalAppRun", "local"),
    ],
)
def test_launchers_are_found_by_short_names_and_by_those_of_older_settings(name: str, launcher: str) -> None:
    assert launcher_name(name) == launcher
    assert find(name).name == launcher


@pytest.mark.parametrize("name", ["balsam.platform.app_run.ThetaAprun", "aprun", ""])
def test_an_unknown_launcher_is_an_error_that_lists_those_there_are(name: str) -> None:
    with pytest.raises(UnknownLauncher, match="there are: local, mpich, openmpi, pals, srun"):
        find(name)


@pytest.mark.parametrize(
    "told",
    [
        "[mpiexec@n1] match_arg (lib/utils/args.c:166): unrecognized argument oversubscribe",
        'mpiexec: Error: unknown option "-ppn"',
        "srun: unrecognized option '--host'",
        '/usr/bin/mpirun.openmpi: Error: unknown option "-hosts"',
        "prterun: invalid option -- 'q'",
        "bash: line 1: mpiexec.hydra: command not found",
        "can't start 'mpirun': No such file or directory",
    ],
)
def test_a_wrong_mpi_launcher_names_the_setting(told: str) -> None:
    hint = wrong_launcher("mpich", told, launcher_names())
    assert hint is not None and "mpi_app_launcher" in hint and "openmpi" in hint


@pytest.mark.parametrize(
    "told",
    [
        "a.out: unrecognized option '--x'",
        "ERROR: Unknown pair style",
        "bash: line 1: lmp: command not found",
        "",
    ],
)
def test_a_program_that_refuses_its_own_options_says_nothing_of_its_launcher(told: str) -> None:
    assert wrong_launcher("mpich", told, launcher_names()) is None
