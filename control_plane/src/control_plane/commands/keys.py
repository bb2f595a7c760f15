"""`control-plane keys`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from control_plane.audit.centre_log import CentreAct
from control_plane.commands.options import DataDir, Json, passphrase
from control_plane.commands.record import on_record
from control_plane.commands.signing import By, KeyOption, open_key, people_of
from control_plane.layout import Layout
from control_plane.release import keys
from control_plane.release.ceremony import Appointments, holders, propose_root, rotate_director
from control_plane.release.image import ImageRepository
from shared.command_line import console
from shared.errors import ConfigError

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Signing keys of people, online roles and directors."""


@app.command()
def generate(
    names: Annotated[list[str], typer.Argument(help="whose they are, for example alice or director-TX01")],
    folder: Annotated[Path, typer.Option(help="an approver's is their own, off this machine")],
) -> None:
    """Make an Ed25519 key pair each: NAME.pem, encrypted with PM_KEY_PASSPHRASE or asked for, NAME.pub.

    Example: control-plane keys generate alice --folder /media/alice
    """
    for name in names:
        print(keys.generate(folder, name, passphrase(name)))


@app.command()
def public(
    key: KeyOption,
    output: Annotated[Path, typer.Option(help="where to write NAME.pub")],
) -> None:
    """Write the public half of a key, for example of one on a token.

    Example: control-plane keys public
    --key "pkcs11:token=alice;id=%02?module-path=/usr/lib/softhsm/libsofthsm2.so" --output alice.pub
    """
    if output.exists():
        raise ConfigError(str(output), ["is there already; a key is never overwritten"])
    output.write_bytes(keys.public_pem(open_key(key).public_key))
    print(output)


@app.command("list")
def list_keys(data_dir: DataDir, as_json: Json = False) -> None:
    """Every key that signs or proposes: whose it is, for which role, until when its root holds.

    Example: control-plane keys list --data-dir data
    """
    found = holders(Layout(data_dir).repository)
    if as_json:
        print(json.dumps([each._asdict() for each in found]))
        return
    table = Table("repository", "role", "name", "key", "scheme", "root holds until")
    for each in found:
        key, until = each.keyid[:16], each.expires[:10]
        table.add_row(each.repository, each.role, each.name, key, each.scheme, until)
    console().print(table)


@app.command()
def rotate(
    by: By,
    reason: Annotated[str, typer.Option(help="why, for those who are to approve it")],
    data_dir: DataDir,
    add_approver: Annotated[list[str] | None, typer.Option(help="NAME=FILE.pub")] = None,
    remove_approver: Annotated[list[str] | None, typer.Option(help="NAME")] = None,
    add_proposer: Annotated[list[str] | None, typer.Option(help="NAME=FILE.pub")] = None,
    remove_proposer: Annotated[list[str] | None, typer.Option(help="NAME")] = None,
    online: Annotated[Path | None, typer.Option(help="new public key of snapshot and timestamp")] = None,
) -> None:
    """Propose a new root: people come, go or get another key. With no change, root and targets are renewed.

    Approve and publish it like a release; old and new approvers must be enough. Sites follow by
    themselves.

    Example: control-plane keys rotate --remove-approver carol --add-approver erin=erin.pub
    --reason "carol has left" --by dave.pem --data-dir data
    """
    changes = Appointments(
        people_of(add_approver or [], "--add-approver"),
        tuple(remove_approver or ()),
        people_of(add_proposer or [], "--add-proposer"),
        tuple(remove_proposer or ()),
        keys.load_public(online, "online") if online else None,
    )
    layout = Layout(data_dir)
    with on_record(layout, CentreAct.ROOT_PROPOSED, CentreAct.RELEASE_REFUSED, "root") as note:
        note["reason"] = reason
        folder = propose_root(ImageRepository(layout.repository), changes, open_key(by), reason)
    print(folder)


@app.command("rotate-director")
def rotate_director_key(
    site: Annotated[str, typer.Argument(help="for example TX01")],
    old: Annotated[str, typer.Option(help="the director's key of now")],
    new: Annotated[str, typer.Option(help="the key that takes its place")],
    reason: Annotated[str, typer.Option(help="why; it goes on the record")],
    data_dir: DataDir,
) -> None:
    """Give a site's director another key, at once; the old one counts for nothing any more.

    Example: control-plane keys rotate-director TX01 --old director-TX01.pem --new director-TX01-2.pem
    --reason "its server was broken into" --data-dir data
    """
    layout = Layout(data_dir)
    with on_record(layout, CentreAct.KEY_ROTATED, CentreAct.RELEASE_REFUSED, f"director/{site}") as note:
        note["reason"] = reason
        version = rotate_director(layout.repository, site, open_key(old), open_key(new))
    print(f"{site}: director root {version}; the old key signs nothing any more")
