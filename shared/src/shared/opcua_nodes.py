"""OPC UA names of a plant's variables: one rule for whoever serves a tag and whoever reads it. Pure.

A namespace's index may change with every start of a server; its URI does not. So a variable is
`nsu=<NAMESPACE_URI>;s=<identifier>`, and a reader looks the index up on each connection.
"""

import base64
import re
import uuid
from typing import NamedTuple

from shared.schemas.base import ComponentId

NAMESPACE_URI = "urn:pm-stack-smr:plant"
COUNTER = "#cycle"  # the component's cycle counter; no tag can have this name
NUMERIC_MAX = 2**32 - 1  # OPC UA part 6, section 5.2.2.9
_WRITTEN = re.compile(r"nsu=([^;]+);([sigb])=(.+)", re.DOTALL)  # OPC UA part 6, section 5.3.1.10
_FORM = "nsu=<namespace URI>;s=<text>, or i=<number>, g=<GUID>, b=<base64> in place of s="


class NodeName(NamedTuple):
    """A node id that holds whatever index its namespace has."""

    namespace_uri: str
    identifier: str | int | uuid.UUID | bytes


def parse_node(text: str) -> NodeName:
    """A node id as people write it; ValueError says what is wrong with it and what would be right."""
    if text.startswith("ns="):
        raise ValueError(
            "a namespace's index may change with every start of the server; "
            f"write its URI, which the server's NamespaceArray lists: {_FORM}"
        )
    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise ValueError(f"expected {_FORM}")
    uri, kind, identifier = written.groups()
    return NodeName(uri.replace("%3B", ";").replace("%25", "%"), _identifier(kind, identifier))


def _identifier(kind: str, text: str) -> str | int | uuid.UUID | bytes:
    match kind:
        case "i":
            if not (text.isascii() and text.isdigit() and int(text) <= NUMERIC_MAX):
                raise ValueError(f"i= takes a whole number from 0 to {NUMERIC_MAX}")
            return int(text)
        case "g":
            try:
                return uuid.UUID(text)
            except ValueError as error:
                raise ValueError("g= takes a GUID: 8-4-4-4-12 hexadecimal digits") from error
        case "b":
            try:
                return base64.b64decode(text, validate=True)
            except ValueError as error:
                raise ValueError("b= takes base64") from error
    return text


def object_identifier(component_id: ComponentId) -> str:
    """Of a component's object, for example `R1/coolant_pump`; a site is a server of its own."""
    return f"{component_id.reactor_id}/{component_id.component}"


def variable_identifier(component_id: ComponentId, name: str) -> str:
    """Of a tag's variable, or of the counter's, for example `R1/coolant_pump/flow_rate`."""
    return f"{object_identifier(component_id)}/{name}"


def expanded(identifier: str) -> str:
    """The whole node id as people write it."""
    return f"nsu={NAMESPACE_URI};s={identifier}"
