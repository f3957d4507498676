from balsam.logic.sessions import within_nodes
from balsam.logic.signature import failure_signature


def test_failures_that_differ_only_in_numbers_and_paths_look_alike() -> None:
    one = failure_signature(1, "Traceback\nOSError: /data/run/0012/in.txt is missing at line 7\n")
    two = failure_signature(1, "OSError: /other/site/3/in.txt is missing at line 99")
    assert one == two == "1: OSError: in.txt is missing at line #"


def test_a_failure_without_output_has_its_code() -> None:
    assert failure_signature(139, "") == "139: "
    assert failure_signature(None, "killed") == "?: killed"


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
