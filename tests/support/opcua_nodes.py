"""The standard nodes of OPC UA servers: asyncua makes them in a second of CPU at each start of each server.

Within a process they are made once, and every server gets copies: what is changed in one is not in another.
"""

from functools import cache

from asyncua import ua
from asyncua.server.address_space import AddressSpace, AttributeValue, NodeData, NodeManagementService
from asyncua.server.standard_address_space import standard_address_space

_make = standard_address_space.fill_address_space


def make_standard_nodes_once() -> None:
    """For the servers that this process starts from now on."""
    standard_address_space.fill_address_space = _fill


def _fill(service: NodeManagementService) -> None:
    for node_id, node in _made().items():
        service._aspace[node_id] = _copied(node)


@cache
def _made() -> dict[ua.NodeId, NodeData]:
    space = AddressSpace()
    _make(NodeManagementService(space))
    return space._nodes


def _copied(node: NodeData) -> NodeData:
    """Values and references are replaced whole, and may be shared; what holds them may not."""
    made = NodeData(node.nodeid)
    made.attributes = {each: AttributeValue(held.value) for each, held in node.attributes.items()}
    made.references = node.references.copy()
    return made
