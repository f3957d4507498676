from balsam.core.failure_text import normal
from balsam.logic.sessions import within_nodes
from balsam.logic.signature import MAX_CHARS, failure, failure_signature, signature_of


def test_failures_that_differ_only_in_numbers_and_paths_look_alike() -> None:
    one = failure_signature(1, "Traceback\nOSError: /data/run/0012/in.txt is missing at line 7\n")
    two = failure_signature(1, "OSError: /other/site/3/in.txt is missing at line 99")
    assert one == two == "1: OSError: in.txt is missing at line #"


def test_a_failure_without_output_has_its_code() -> None:
    assert failure_signature(7, "") == "7: "
    assert failure_signature(None, "killed") == "?: killed"


def test_signals_and_codes_that_differ_are_different_causes() -> None:
    killed = {failure_signature(code, "step 7\n") for code in (-9, -11, -15, 137, 139)}
    assert len(killed) == 5 and "-11: killed by signal 11 (SIGSEGV)" in killed
    for one, other in (
        ("the worker died with signal 9", "the worker died with signal 11"),
        ("tool: exit status 3", "tool: exit status 4"),
        ("OSError: [Errno 28] write", "OSError: [Errno 122] write"),
        ("forrtl: severe (24): end", "forrtl: severe (29): end"),
    ):
        assert normal(one) != normal(other)
    assert normal("step 9 of 12 took 3.5 s") == normal("step 10 of 12 took 1.5 s")


def test_the_signature_is_of_the_line_that_tells_why_and_not_of_the_last_one() -> None:
    text = "ERROR: Lost atoms: original 4000 current 3990\nLast command: run 100\n--------\n"
    assert failure_signature(1, text) == "1: ERROR: Lost atoms: original # current #"
    assert signature_of({"error": text, "reason": "the launcher's word"}, 1) == "1: the launcher's word"


def test_a_signature_that_is_cut_ends_so() -> None:
    assert failure_signature(1, "Error: " + "x" * 999).endswith("…")
    assert len(failure_signature(1, "Error: " + "x" * 999)) == MAX_CHARS


def test_the_sentence_on_a_failure_holds_code_and_reason_once() -> None:
    assert failure({"returncode": 127, "error": "bash: x: command not found\n-----"}) == (
        "exit code 127: bash: x: command not found"
    )
    assert failure({"returncode": -9, "error": "step 7\nended by signal SIGKILL"}) == (
        "killed by signal 9 (SIGKILL)"
    )
    assert failure({"message": "killed by anna", "killed": True}) == "killed by anna"
    assert failure({}) == ""


def test_jobs_are_taken_only_as_far_as_the_nodes_go() -> None:
    rows = [
        {"id": 1, "num_nodes": 2, "node_packing_count": 1},
        {"id": 2, "num_nodes": 4, "node_packing_count": 1},
        {"id": 3, "num_nodes": 1, "node_packing_count": 2},
        {"id": 4, "num_nodes": 1, "node_packing_count": 2},
        {"id": 5, "num_nodes": 1, "node_packing_count": 2},
    ]
    assert within_nodes(rows, 3.0) == [1, 3, 4]
    assert within_nodes(rows, None) == [1, 2, 3, 4, 5]
