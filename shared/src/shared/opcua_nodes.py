"""OPC UA names of a plant's variables: one rule for whoever serves a tag and whoever reads it. Pure.

A namespace's index may change with every start of a server; its URI does not. So a variable is
`nsu=<NAMESPACE_URI>;s=<identifier>`, and a reader looks the index up on each connection.
"""

from shared.schemas.base import ComponentId

NAMESPACE_URI = "urn:pm-stack-smr:plant"
COUNTER = "#cycle"  # the component's cycle counter; no tag can have this name


def object_identifier(component_id: ComponentId) -> str:
    """Of a component's object, for example `R1/coolant_pump`; a site is a server of its own."""
    return f"{component_id.reactor_id}/{component_id.component}"


def variable_identifier(component_id: ComponentId, name: str) -> str:
    """Of a tag's variable, or of the counter's, for example `R1/coolant_pump/flow_rate`."""
    return f"{object_identifier(component_id)}/{name}"


def expanded(identifier: str) -> str:
    """The whole node id as people write it."""
    return f"nsu={NAMESPACE_URI};s={identifier}"
