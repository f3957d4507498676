"""Which line of an output tells why a run failed: a table of what programs really print."""

# ruff: noqa: E501  # their lines are as long as they are

import pytest

from balsam.core.failure_text import exit_words, reason_of, telling_line

OPEN_MPI_BANNER = """\
--------------------------------------------------------------------------
Primary job  terminated normally, but 1 process returned
a non-zero exit code. Per user-direction, the job has been aborted.
--------------------------------------------------------------------------
--------------------------------------------------------------------------
mpiexec detected that one or more processes exited with non-zero status, thus causing
the job to be terminated. The first process to do so was:

  Process name: [[44733,1],0]
  Exit code:    127
--------------------------------------------------------------------------"""

CASES = {
    "a Python traceback": (
        'Traceback (most recent call last):\n  File "a.py", line 3, in <module>\n    f()\n'
        '  File "a.py", line 1, in f\n    raise ValueError("too cold")\nValueError: too cold\n',
        "ValueError: too cold",
    ),
    "a chain of exceptions": (
        'Traceback (most recent call last):\n  File "a.py", line 2, in f\n    1 / 0\n    ~~^~~\n'
        "ZeroDivisionError: division by zero\n\n"
        "During handling of the above exception, another exception occurred:\n\n"
        'Traceback (most recent call last):\n  File "a.py", line 4, in <module>\n'
        "apps.Diverged: step 7\n",
        "apps.Diverged: step 7",
    ),
    "an exception of several lines, and what MPI says of it": (
        'Traceback (most recent call last):\n  File "a.py", line 2, in f\n    x.cuda()\n'
        "RuntimeError: CUDA error: device-side assert triggered\n"
        "CUDA kernel errors might be asynchronously reported at some other API call.\n"
        "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
        "application called MPI_Abort(MPI_COMM_WORLD, 1) - process 0\n",
        "RuntimeError: CUDA error: device-side assert triggered",
    ),
    "a traceback of which only the end is kept": (
        '    return self._call(x)\n  File "m.py", line 9, in _call\n    return y[i]\nIndexError: list index '
        "out of range\n",
        "IndexError: list index out of range",
    ),
    "a SyntaxError": (
        "  File \"a.py\", line 1\n    print(\n         ^\nSyntaxError: '(' was never closed\n",
        "SyntaxError: '(' was never closed",
    ),
    "an exception group": (
        "  + Exception Group Traceback (most recent call last):\n"
        '  |   File "a.py", line 3, in <module>\n  |     raise ExceptionGroup("two", [])\n'
        "  | ExceptionGroup: two (1 sub-exception)\n  +-+---------------- 1 ----------------\n"
        '    | Traceback (most recent call last):\n    |   File "a.py", line 2, in f\n'
        "    | KeyError: 'energy'\n    +------------------------------------\n",
        "KeyError: 'energy'",
    ),
    "ranks that label their lines": (
        '[1]: Traceback (most recent call last):\n[1]:   File "a.py", line 3, in <module>\n'
        "[1]: ValueError: rank 1\nsrun: error: nid001: task 1: Exited with exit code 1\n",
        "ValueError: rank 1",
    ),
    "a traceback that was only told, and a crash much later": (
        'Traceback (most recent call last):\n  File "a.py", line 3, in f\nKeyError: 1\n'
        + "".join(f"step {number} energy -1.25\n" for number in range(20))
        + "bash: line 1: 4242 Segmentation fault      (core dumped) ./a.out\n",
        "bash: line 1: 4242 Segmentation fault      (core dumped) ./a.out",
    ),
    "an exception that Python ignored": (
        "step 1\nException ignored in: <function X.__del__ at 0x7f>\nTraceback (most recent call last):\n"
        '  File "a.py", line 3, in __del__\nAttributeError: y\nKilled\n',
        "Killed",
    ),
    "Open MPI after a program that was not found": (
        "bash: line 1: nosuch: command not found\n" + OPEN_MPI_BANNER,
        "bash: line 1: nosuch: command not found",
    ),
    "Open MPI's banner alone": (
        OPEN_MPI_BANNER,
        "Primary job  terminated normally, but 1 process returned",
    ),
    "Open MPI that finds no program": (
        "-" * 74 + "\nmpirun was unable to launch the specified application as it could not access\n"
        "or execute an executable:\n\nExecutable: ./nosuch\nNode: node1\n\nwhile attempting to start process "
        "rank 0.\n" + "-" * 74 + "\n",
        "mpirun could not start ./nosuch: it is missing or not executable",
    ),
    "Open MPI without room": (
        "-" * 74 + "\nThere are not enough slots available in the system to satisfy the 4\nslots that were "
        "requested by the application:\n\n  ./a.out\n\nEither request fewer procs for your application.\n",
        "There are not enough slots available in the system to satisfy the 4",
    ),
    "Open MPI asked for what it does not know": (
        "mpiexec: Error: unknown option \"--hosts\"\nType 'mpiexec --help' for usage.\n",
        'mpiexec: Error: unknown option "--hosts"',
    ),
    "MPICH asked for what it does not know": (
        "[mpiexec@n1] match_arg (lib/utils/args.c:166): unrecognized argument oversubscribe\n"
        "[mpiexec@n1] HYDU_parse_array (lib/utils/args.c:181): argument matching returned error\n"
        "[mpiexec@n1] parse_args (mpiexec/get_parameters.c:315): error parsing input array\n\n"
        "Usage: ./mpiexec [global opts] [local opts for exec1]\n\nGlobal options (passed to all executables):\n",
        "[mpiexec@n1] match_arg (lib/utils/args.c:166): unrecognized argument oversubscribe",
    ),
    "MPICH that finds no program": (
        "[proxy:0:0@n1] HYDU_create_process (lib/utils/launch.c:73): execvp error on file ./nosuch (No such "
        "file or directory)\n",
        "[proxy:0:0@n1] HYDU_create_process (lib/utils/launch.c:73): execvp error on file ./nosuch (No such "
        "file or directory)",
    ),
    "MPICH's own fatal error": (
        "Fatal error in PMPI_Recv: Message truncated, error stack:\nPMPI_Recv(173): MPI_Recv(buf=0x7f) failed\n"
        "===================================================================================\n"
        "=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n=   PID 1 RUNNING AT n1\n=   EXIT CODE: 14\n",
        "Fatal error in PMPI_Recv: Message truncated, error stack:",
    ),
    "MPICH that tells of a signal": (
        "===\n=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n=   EXIT CODE: 139\n===\n"
        "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Segmentation fault (signal 11)\n"
        "This typically refers to a problem with your application.\nPlease see the FAQ page for debugging\n",
        "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Segmentation fault (signal 11)",
    ),
    "MPI_ABORT after the program's own words": (
        "ERROR: Unknown pair style lj/cuuut (src/force.cpp:275)\nLast command: pair_style lj/cuuut 2.5\n"
        "--------\nMPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD\nwith errorcode 1.\n\n"
        "NOTE: invoking MPI_ABORT causes Open MPI to kill all MPI processes.\nYou may or may not see output\n",
        "ERROR: Unknown pair style lj/cuuut (src/force.cpp:275)",
    ),
    "MPI_ABORT alone": (
        "MPI_ABORT was invoked on rank 3 in communicator MPI_COMM_WORLD\nwith errorcode 7.\n\nNOTE: invoking\n",
        "MPI_ABORT was invoked on rank 3 in communicator MPI_COMM_WORLD",
    ),
    "Slurm on a step that ran out of memory": (
        "step 3\nslurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks have been "
        "OOM Killed.\nsrun: error: n1: task 0: Out Of Memory\n",
        "srun: error: n1: task 0: Out Of Memory",
    ),
    "Slurm at the time limit": (
        "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.\nslurmstepd: error: *** STEP "
        "12.0 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***\n",
        "slurmstepd: error: *** STEP 12.0 ON n1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***",
    ),
    "Slurm that can't start a program": (
        "slurmstepd: error: execve(): nosuch: No such file or directory\nsrun: error: n1: task 0: Exited with "
        "exit code 2\n",
        "slurmstepd: error: execve(): nosuch: No such file or directory",
    ),
    "PALS on a rank that died": (
        "step 4\nx3006c0s13b0n0.hsn.cm: rank 0 died from signal 11 and dumped core\n"
        "x3006c0s13b0n0.hsn.cm: rank 2 died from signal 15\n",
        "x3006c0s13b0n0.hsn.cm: rank 0 died from signal 11 and dumped core",
    ),
    "a file that is missing": (
        "starting\ncat: in.txt: No such file or directory\n",
        "cat: in.txt: No such file or directory",
    ),
    "a library that is missing": (
        "./a.out: error while loading shared libraries: libfftw3.so.3: cannot open shared object file: No such "
        "file or directory\n",
        "./a.out: error while loading shared libraries: libfftw3.so.3: cannot open shared object file: No such "
        "file or directory",
    ),
    "gfortran": (
        "At line 3 of file a.f90 (unit = 10)\nFortran runtime error: File 'x' does not exist\n\nError "
        "termination. Backtrace:\n#0  0x7f in ???\n#1  0x7f in ???\n",
        "Fortran runtime error: File 'x' does not exist",
    ),
    "gfortran, crashed": (
        "Program received signal SIGSEGV: Segmentation fault - invalid memory reference.\n\nBacktrace for this "
        "error:\n#0  0x7f8\n#1  0x7f9\nSegmentation fault (core dumped)\n",
        "Program received signal SIGSEGV: Segmentation fault - invalid memory reference.",
    ),
    "Intel Fortran": (
        "forrtl: severe (24): end-of-file during read, unit 5, file stdin\nImage    PC    Routine    Line\n"
        "a.out    0000000000403 Unknown  Unknown\n",
        "forrtl: severe (24): end-of-file during read, unit 5, file stdin",
    ),
    "CUDA": (
        "step 1\nCUDA error at main.cu:12: out of memory\ncleaning up\n",
        "CUDA error at main.cu:12: out of memory",
    ),
    "GROMACS": (
        "-------------------------------------------------------\nProgram:     gmx mdrun, version 2023.3\n"
        "Source file: src/gromacs/fileio/tpxio.cpp (line 2712)\n\nFatal error:\nCannot read run input file\n\n"
        "For more information and tips for troubleshooting, please check the GROMACS\nwebsite at "
        "https://www.gromacs.org/Documentation/Errors\n-----------------------------------------------------\n",
        "Fatal error: Cannot read run input file",
    ),
    "Quantum ESPRESSO": (
        " %%%%%%%%%%%%%%%%\n     Error in routine electrons (1):\n     convergence not achieved\n %%%%%%%%%%%%\n\n"
        "     stopping ...\n",
        "Error in routine electrons (1): convergence not achieved",
    ),
    "C++": (
        "terminate called after throwing an instance of 'std::runtime_error'\n  what():  no mesh\n"
        "bash: line 1: 7 Aborted                 (core dumped) ./a.out\n",
        "std::runtime_error: no mesh",
    ),
    "glibc": ("double free or corruption (out)\nAborted (core dumped)\n", "double free or corruption (out)"),
    "an assertion": (
        "a.out: a.c:3: main: Assertion `n > 0' failed.\nAborted (core dumped)\n",
        "a.out: a.c:3: main: Assertion `n > 0' failed.",
    ),
    "Java": (
        'Exception in thread "main" java.lang.RuntimeException: outer\n\tat A.main(A.java:3)\n'
        "Caused by: java.io.IOException: disk\n\tat A.f(A.java:9)\n\t... 1 more\n",
        "Caused by: java.io.IOException: disk",
    ),
    "R": (
        "Error in log(-1) : NaNs produced\nCalls: f -> log\nExecution halted\n",
        "Error in log(-1) : NaNs produced",
    ),
    "Julia": (
        "ERROR: LoadError: DomainError with -1.0:\nStacktrace:\n [1] throw_complex(f::Symbol)\n",
        "ERROR: LoadError: DomainError with -1.0:",
    ),
    "Rust": (
        "thread 'main' panicked at src/main.rs:2:5:\nindex out of bounds\nnote: run with `RUST_BACKTRACE=1` "
        "environment variable to display a backtrace\n",
        "thread 'main' panicked at src/main.rs:2:5: index out of bounds",
    ),
    "a full disk": (
        "write 3\ndd: error writing 'x': No space left on device\n1+0 records out\n",
        "dd: error writing 'x': No space left on device",
    ),
    "argparse": (
        "usage: a.py [-h] --n N\na.py: error: the following arguments are required: --n\n",
        "a.py: error: the following arguments are required: --n",
    ),
    "a warning behind the error": (
        "error: the mesh has 3 holes\nwarning: invalid option ignored\n",
        "error: the mesh has 3 holes",
    ),
    "numbers that are called errors are none": ("step 1 error 1e-5\nno convergence\n", "no convergence"),
    "colours": ("\x1b[31mError: bad input\x1b[0m\n", "Error: bad input"),
    "words and a line of dashes": ("it did not work\n--------\n\n", "it did not work"),
    "no letters at all": ("---\n 12\n", ""),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_the_line_that_holds_the_reason_is_found(name: str) -> None:
    text, line = CASES[name]
    assert telling_line(text) == line


@pytest.mark.parametrize(
    ("code", "text", "reason"),
    [
        (-9, "step 1000\n", "killed by signal 9 (SIGKILL)"),
        (137, "step 1000\n", "killed by signal 9 (SIGKILL)"),
        (-11, "", "killed by signal 11 (SIGSEGV)"),
        (-15, "the error: small\n", "killed by signal 15 (SIGTERM)"),
        (-6, "terminate called after throwing an instance of 'E'\n", "terminate called after throwing an instance of 'E'"),
        (3, "step 1000\n", "step 1000"),
        (255, "lost\n", "lost"),
        (None, "lost\n", "lost"),
    ],
)  # fmt: skip
def test_what_a_killed_process_said_last_is_no_reason(code: int | None, text: str, reason: str) -> None:
    assert reason_of(code, text) == reason


def test_an_exit_is_told_with_its_signal() -> None:
    assert exit_words(3) == "exit code 3"
    assert exit_words(-9) == "killed by signal 9 (SIGKILL)"
    assert exit_words(139) == "exit code 139, killed by signal 11 (SIGSEGV)"


def test_a_line_without_end_is_cut_and_says_so() -> None:
    line = telling_line("ValueError: " + "x" * 10_000)
    assert len(line) == 500 and line.endswith("…")
