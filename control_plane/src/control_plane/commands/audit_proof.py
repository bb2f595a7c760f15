"""`control-plane audit prove` and `verify-proof`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from control_plane.audit.evidence import WITNESS_KEY, read_keys
from control_plane.audit.proofs import locate
from control_plane.audit.proofs import prove as prove_entry
from control_plane.audit.tiles import TileStore
from control_plane.audit.tlog_proof import check_proof, parse_proof
from control_plane.commands.options import DataDir, Json
from control_plane.layout import Layout
from shared.checkpoint import NoteError, read_checkpoint
from shared.errors import ConfigError, Untrusted


def prove(
    data_dir: DataDir,
    prediction_id: Annotated[str | None, typer.Argument(help="as a prediction's record names it")] = None,
    site: Annotated[
        str | None, typer.Option(help="instead of a prediction: whose log; `inference`, `centre`: its own")
    ] = None,
    index: Annotated[int | None, typer.Option(min=0, help="and which entry of it")] = None,
) -> None:
    """Print the proof that an entry is on the record: a C2SP tlog-proof, with the entry in it.

    Whoever has the public keys checks it with `audit verify-proof`, without this machine.

    Example: control-plane audit prove 3f0c... --data-dir data > prediction.tlog-proof

    Example: control-plane audit prove --site TX01 --index 12 --data-dir data
    """
    layout = Layout(data_dir)
    if prediction_id is not None and site is None and index is None:
        found = locate(layout, prediction_id)
        site, index = found.log, found.index
    if site is None or index is None:
        raise ConfigError("audit prove", ["needs a prediction's id, or --site and --index"])
    print(prove_entry(TileStore(layout.tiles / site), index).text, end="")


def verify_proof(
    file: Annotated[Path, typer.Argument(help="as `audit prove` prints it")],
    keys: Annotated[Path, typer.Option(help="your own JSON file of keys, as `audit keys` prints it")],
    as_json: Json = False,
) -> None:
    """Check a proof with public keys alone, and print the entry that it proves; exit 1 when it fails.

    Example: control-plane audit verify-proof prediction.tlog-proof --keys keys-noted-at-enrolment.json
    """
    public = read_keys(keys)
    try:
        proof = parse_proof(file.read_bytes().decode())
        origin = read_checkpoint(proof.note).origin
        key = next((each for each in public.values() if each.name == origin), None)
        if key is None:
            raise NoteError(f"no key of {origin} is in {keys}")
        checkpoint = check_proof(proof, key, public.get(WITNESS_KEY))
        entry = json.loads(proof.entry)
    except (ValueError, OSError) as error:  # a NoteError is a ValueError
        raise Untrusted("proof", f"{file}: {error}") from error
    signers = [key.name, *([public[WITNESS_KEY].name] if WITNESS_KEY in public else [])]
    if as_json:
        found = {"origin": origin, "index": proof.index, "size": checkpoint.size, "signed_by": signers}
        print(json.dumps({**found, "entry": entry}))
        return
    print(f"entry {proof.index} of {origin}, under {checkpoint.size} signed by {' and '.join(signers)}:")
    print(json.dumps(entry, indent=2))
