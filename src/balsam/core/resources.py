"""How much of a node a run takes."""


def node_weight(num_nodes: int, node_packing_count: int) -> float:
    """Nodes that a run keeps busy: whole nodes if more than one, else its share of one."""
    return float(num_nodes) if num_nodes > 1 else 1.0 / max(1, node_packing_count)
