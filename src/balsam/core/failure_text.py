"""Which line of a run's output tells why the run failed: text in, one line out.

Output ends with what programs print on their way out: a banner of the MPI library, a hint at `--help`, lines
of dashes. The line that holds the reason stands before that. Lines are put into classes, from those that name
a cause to those that only say that there was one; the best class that occurs gives the line.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

MAX_LINE_CHARS = 500
FAR = 10  # a later class B line that so many lines part from a class A line is another failure
_SIGNAL_EXIT = 128  # a shell that saw its command killed by a signal exits with this plus its number
_FATAL = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 24, 25, 31})


class Strength(IntEnum):
    """How much a line tells of the cause, the most first."""

    cause = 0  # the program's own words: an exception, a fatal error
    signal = 1  # a process was killed
    system = 2  # the shell, the kernel or the MPI launcher refused something
    error = 3  # says "error" and what
    consequence = 4  # says that something else failed
    any = 5  # has letters
    none = 6


@dataclass(frozen=True, slots=True)
class Reason:
    """A line, and how much it tells."""

    line: str
    strength: Strength


@dataclass(frozen=True, slots=True)
class _Found:
    place: int
    line: str
    strength: Strength


def telling_line(text: str) -> str:
    """The line of an output's end that tells why the run failed; the last with letters if none does."""
    return reason_in(text).line


@lru_cache(maxsize=256)  # what fails by the thousand mostly fails with the same words
def reason_in(text: str) -> Reason:
    """The same, with how much it tells."""
    lines = _lines(text)
    best = _best(list(_found(lines)))
    if best is not None:
        return Reason(_short(best.line), best.strength)
    last = next((line for line in reversed(lines) if re.search(r"[^\W\d_]", line)), "")
    return Reason(_short(last.strip()), Strength.any if last else Strength.none)


def reason_of(return_code: int | None, text: str) -> str:
    """Why a run failed, from its return code and the end of its output.

    What a process that a signal killed had printed last is no reason, unless it is about that.
    """
    found = reason_in(text)
    killed_by = signal_of(return_code)
    if killed_by is not None and found.strength >= Strength.error:
        return killed_by
    return found.line


def signal_of(return_code: int | None) -> str | None:
    """`killed by signal 9 (SIGKILL)` for -9 and 137; None where no signal ended the run."""
    if return_code is None:
        return None
    number = -return_code if return_code < 0 else return_code - _SIGNAL_EXIT
    if number not in _FATAL:
        return None
    try:
        name = signal.Signals(number).name
    except ValueError:
        return None
    return f"killed by signal {number} ({name})"


def exit_words(return_code: int) -> str:
    """`exit code 3`; `killed by signal 11 (SIGSEGV)`, beside a shell's code for that."""
    killed_by = signal_of(return_code)
    if killed_by is None:
        return f"exit code {return_code}"
    return killed_by if return_code < 0 else f"exit code {return_code}, {killed_by}"


def normal(line: str) -> str:
    """With paths cut to their last part, and numbers that tell no causes apart as `#`."""
    return _NUMBERS.sub(lambda found: found["kept"] or "#", _PATHS.sub("", line))


def _best(found: list[_Found]) -> _Found | None:
    """The last of the best class; of mere consequences the first."""
    if not found:
        return None
    strength = min(one.strength for one in found)
    of_it = [one for one in found if one.strength is strength]
    # Ranks that are ended since another one died have SIGTERM: that is no cause.
    of_it = [one for one in of_it if not _ENDED.search(one.line)] or of_it
    best = of_it[0] if strength is Strength.consequence else of_it[-1]
    later = [one for one in found if one.strength is Strength.signal and one.place > best.place + FAR]
    return later[-1] if strength is Strength.cause and later else best


_NUMBERS = re.compile(
    r"(?P<kept>\b(signal|code|status|errno|severe|error)[ =]?[\[( ]?\d+\b(?!\.\d))|0x[0-9a-fA-F]+|\d+",
    re.IGNORECASE,
)
_PATHS = re.compile(r"(/[^\s:'\"]+)+/")
_ENDED = re.compile(r"signal 15\b|SIGTERM|\bTerminated\b")
_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\-_])")
# `srun -l`, `mpirun --tag-output` and torchrun name the rank before each line.
_RANK = re.compile(r"^(\[(\d+,\d+|[a-z]*\d+)\](<std(out|err)>)?:? ?|\d{1,6}: )")


def _lines(text: str) -> list[str]:
    """Lines that say anything, without what a terminal would make of them and without labels of ranks."""
    plain = _ESCAPES.sub("", text)
    lines = [_RANK.sub("", line.rstrip()).replace("\t", "    ") for line in plain.splitlines()]
    return [line for line in lines if line.strip()]


def _short(line: str) -> str:
    return line if len(line) <= MAX_LINE_CHARS else line[: MAX_LINE_CHARS - 1] + "…"


def _found(lines: list[str]) -> Iterator[_Found]:
    taken: set[int] = set()
    for place, line in _exceptions(lines):
        taken.add(place)
        yield _Found(place, line, Strength.cause)
    for place, line in enumerate(lines):
        if place in taken or _FRAME.match(line):
            continue
        classed = _classed(line.strip(), lines[place + 1 : place + 4])
        if classed is not None:
            yield _Found(place, *classed)


# ---- Python ----

_FRAME = re.compile(r'^[\s|+-]*File "[^"]*", line \d+')
_EXCEPTION = re.compile(r"^[^\W\d][\w.<>]*(:|$)")
_IGNORED = "Exception ignored in"


def _exceptions(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Where tracebacks end: the line after the frames that is indented less than they are.

    Their heading may be missing, where only the end of an output is kept; a SyntaxError has none.
    """
    place = 0
    while place < len(lines):
        if not _FRAME.match(lines[place]):
            place += 1
            continue
        depth = _depth(lines[place])
        ignored = any(_IGNORED in before for before in lines[max(0, place - 2) : place])
        while place < len(lines) and _depth(lines[place]) >= depth:
            place += 1
        if place < len(lines):
            line = lines[place].lstrip(" |+-")
            if _EXCEPTION.match(line) and not ignored:
                yield place, line
            place += 1


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" |+-"))


# ---- other programs ----

Words = Callable[[re.Match[str], list[str]], str]


def _whole(match: re.Match[str], _following: list[str]) -> str:
    return match.string


def _with_next(match: re.Match[str], following: list[str]) -> str:
    """A heading, and what it announces."""
    line = match.string
    return f"{line} {following[0].strip()}" if following and line.endswith((":", ",")) else line


def _thrown(match: re.Match[str], following: list[str]) -> str:
    what = next((line.strip() for line in following if line.strip().startswith("what():")), "")
    return f"{match['kind']}: {what.removeprefix('what():').strip()}" if what else match.string


def _executable(match: re.Match[str], following: list[str]) -> str:
    named = next((one.split(":", 1)[1].strip() for one in following if one.startswith("Executable:")), "")
    return f"{match['launcher']} could not start {named or 'the program'}: it is missing or not executable"


@dataclass(frozen=True, slots=True)
class _Pattern:
    strength: Strength
    pattern: re.Pattern[str]
    words: Words = _whole


def _patterns(strength: Strength, texts: Iterable[str], words: Words = _whole) -> list[_Pattern]:
    return [_Pattern(strength, re.compile(text), words) for text in texts]


# The first that matches a line decides. What must not be taken for an error comes before what looks for one.
_PATTERNS: list[_Pattern] = [
    # MPI libraries and launchers on what the program did: only that it failed, and where.
    *_patterns(
        Strength.consequence,
        [
            r"MPI_ABORT was invoked on rank",
            r"application called MPI_Abort",
            r"^Abort\(\d+\) on node",
            r"BAD TERMINATION OF ONE OF YOUR APPLICATION",
            r"(?i)mpi(run|exec)(\.\w+)? detected that one or more processes exited with non-zero",
            r"(?i)^Primary job +terminated normally, but",
            r"^(\S+: )?rank \d+ exited with code \d+",
            r"^srun: error: .*[Ee]xited with exit code",
            r"^srun: error: .*: Terminated$",
            r"^srun: (Terminating|launch|Force|got SIG|forcing)",
            r"^slurmstepd: error: \*\*\* STEP .* (CANCELLED|FAILED)(?!.*DUE TO)",
            r"^(STOP|ERROR STOP)( \d+)?$",
            r"^Error termination\b",
            r"^Execution halted$",
            r"subprocess-exited-with-error",
            r"^make(\[\d+\])?: \*\*\* ",
        ],
    ),
    # What a program says of itself.
    *_patterns(
        Strength.cause,
        [r"^terminate called after throwing an instance of '(?P<kind>[^']+)'"],
        _thrown,
    ),
    *_patterns(
        Strength.cause,
        [
            r"^(Fatal error|Error in user input|Inconsistency in user input|File input/output error|"
            r"Feature not implemented|Software inconsistency error|System I/O error|Range checking error)"
            r"( \([^)]*\))?:$",  # GROMACS
            r"^Error in routine .*:$",  # Quantum ESPRESSO
            r"^thread '[^']*'( \(\d+\))? panicked at ",
            r"^(There are not enough slots available|All nodes which are allocated for this job)",
            r"^(\S*mpi(run|exec)\S*) has detected an attempt to run as root",
        ],
        _with_next,
    ),
    *_patterns(
        Strength.cause,
        [
            r"^(Fatal|FATAL) (error|ERROR)\b",
            r"^ERROR( on proc \d+)?: ",  # LAMMPS, Julia
            r"^forrtl: (severe|error)",
            r"^Fortran runtime error:",
            r"^ERROR STOP \S",
            r"Program received signal SIG\w+",
            r"^(Exception in thread .*|Caused by: )[\w.$]+",  # Java
            r"^[a-z][\w$]*(\.[\w$]+)+(Exception|Error)(: |$)",
            r"(?i)\bCUDA (runtime |driver )?error\b|\bCUDA_ERROR_\w+|\bcudaError\w+|\bhip[ _]?error\w*",
            r"(?i)\bnccl (error|failure|warn)\b|\bnccl\w*Error\b",
            r"^panic: ",
            r"^(fatal error|runtime error): ",
            r"Assertion .*failed|\bassertion failed\b",
            r"^(malloc|free|realloc|munmap_chunk)\(\): |^(double free or corruption|corrupted (size|double))|"
            r"\*\*\* (stack smashing|buffer overflow) detected",
            r"AddressSanitizer: |^SUMMARY: \w+Sanitizer",
            r"^Error in .+ : |^Error in .+\) :$",  # R
            r"(?i)\boom[-_ ]?kill|\bout of memory\b|^Detected \d+ oom_kill",
            r"\bDUE TO (TIME LIMIT|PREEMPTION|NODE FAILURE)",
            r"(?i)exceeded (job |step )?memory limit",
            r"(?i)\b(no space left on device|disk quota exceeded|stale (nfs )?file handle)\b",
            r"^(srun|sbatch|salloc): fatal: ",
            r"^srun: error: (Unable to|Task launch|Requested|Invalid|Job (request|submit))",
            r"^Error [A-Z]{4,}\b|VERY BAD NEWS",  # VASP
        ],
    ),
    # A process that a signal ended, in the words of shells and launchers.
    *_patterns(
        Strength.signal,
        [
            r"(?i)\bsegmentation (fault|violation)\b|\bSIGSEGV\b",
            r"\b(Bus error|Illegal instruction|Floating point exception)\b|\bSIG(BUS|ILL|FPE|ABRT)\b",
            r"(^|[\s\d])Killed( |$)",
            r"(^|\s)Aborted \(core dumped\)|^Aborted$",
            r"(?i)(exited on|died from|killed by|terminated by|caught|received) signal \w+",
            r"YOUR APPLICATION TERMINATED WITH THE EXIT STRING",
        ],
    ),
    # What shell, loader and launchers refuse.
    *_patterns(
        Strength.system,
        [r"^(?P<launcher>mpirun|mpiexec|prterun|orterun)\S* was unable to (launch|find|start)"],
        _executable,
    ),
    *_patterns(
        Strength.system,
        [
            r"(: |^)(command not found|not found$)|: .*: command not found",
            r"error while loading shared libraries",
            r"(?i)\b(no such file or directory|permission denied|exec format error|text file busy|"
            r"cannot execute|argument list too long|not a directory|is a directory|"
            r"cannot allocate memory|resource temporarily unavailable|too many open files|input/output error|"
            r"connection (refused|reset|timed out)|broken pipe)\b",
            r"(?i)\bsyntax error\b|unexpected (EOF|end of file)|unbound variable|unterminated",
            r"(?i)\b(unrecognized|unknown|invalid|illegal|unsupported) (argument|option|command|flag|switch)",
            r"^(srun|mpirun|mpiexec|prterun|aprun|jsrun|flux)(\.\w+)?: (error|Error|fatal)",
            r"execv[pe]* error",
            r"\bLmod has detected the following error|^ModuleCmd_|Unable to locate a modulefile",
        ],
    ),
    *_patterns(Strength.error, [r"(?i)^(\S+: ){0,3}(fatal|critical)( error)?: .*[a-z]"]),
    *_patterns(
        Strength.error,
        [
            r"(?i)^[\W\d]*((\w[\w./-]*|\[[^\]]*\]):? ){0,4}errors?(:| -)( .*[a-z]|$)",
            r"(?i)^\W*error in\b.*[a-z]",
            r"^\W*(ERROR|FATAL|CRITICAL)\b.*[A-Za-z]",
            r"^[\w.]*(Error|Exception)(: .*)?$",
        ],
        _with_next,
    ),
]

# Looked for first, since most lines have nothing of what the patterns are about: ten times faster.
_TOLD = (
    "error|fatal|abort|excep|terminat|kill|sig|fault|violation|not found|no such|denied|cannot|panic|"
    "caused by|assert|memory|cuda|hip|nccl|fail|exit|stop|halt|limit|invalid|unknown|unrecog|illegal|"
    "unsupported|unbound|unexpected|unable|execv|lmod|module|severe|slots|root|rank|malloc|free|realloc|"
    "munmap|corrupt|smashing|overflow|sanitizer|oom|due to|exceed|quota|space left|stale|busy|directory|"
    "refused|reset|timed out|pipe|unavailable|too long|too many|bad news|user input|not implemented|"
    "all nodes|primary job|make|forcing|launch"
)
_HINTS = tuple(_TOLD.split("|"))
_NOISE = re.compile(
    r"^usage: |--help['\"`]? (for|to)|^for more (information|details|help)|^try ['\"`]|^see also|"
    r"^\W*$|^type ['\"`]\S+ --help|^note: run with|^last command: ",
    re.IGNORECASE,
)
_IDLE_WARNING = re.compile(r"^\W*(\S+ )?(warning|info|debug|note)\b", re.IGNORECASE)


def _classed(line: str, following: list[str]) -> tuple[str, Strength] | None:
    lowered = line.lower()
    if not any(word in lowered for word in _HINTS) or _NOISE.search(line):
        return None
    for one in _PATTERNS:
        match = one.pattern.search(line)
        if match is not None:
            if one.strength is not Strength.cause and _IDLE_WARNING.match(line):
                return None
            return one.words(match, following), one.strength
    return None
