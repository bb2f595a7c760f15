"""`control-plane release`: from a trained model to one that sites may run."""

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from control_plane.commands.options import DataDir, Json, passphrase
from control_plane.layout import Layout
from control_plane.release.director import Director
from control_plane.release.image import ImageRepository
from control_plane.release.keys import load_public, load_signer
from shared.errors import ConfigError

app = typer.Typer(no_args_is_help=True)

ProposalArgument = Annotated[Path, typer.Argument(help="folder, as `init` and `propose` print it")]
THRESHOLD = 2  # of three approvers


@app.command()
def init(
    data_dir: DataDir,
    approver: Annotated[list[str], typer.Option(help="NAME=FILE.pub; three people or more")],
    online: Annotated[Path, typer.Option(help="public key of the snapshot and timestamp role")],
    threshold: Annotated[int, typer.Option(help="how many of them must approve")] = THRESHOLD,
) -> None:
    """Propose the image repository's root; it counts once enough of its approvers have signed it.

    Example: control-plane release init --approver alice=alice.pub --approver bob=bob.pub
    --approver carol=carol.pub --online online.pub --data-dir data
    """
    people = {}
    for text in approver:
        name, sign, path = text.partition("=")
        if not sign:
            raise ConfigError("--approver", [f"found {text!r}; expected NAME=FILE.pub"])
        people[name] = load_public(Path(path), name)
    print(_image(data_dir).begin(people, load_public(online, "online"), threshold))


@app.command()
def propose(
    releases: Annotated[list[Path], typer.Argument(help="folders with model.onnx and manifest.json")],
    by: Annotated[str, typer.Option(help="who proposes; they cannot approve it")],
    data_dir: DataDir,
) -> None:
    """Stage releases for one approval; prints the proposal's folder.

    Example: control-plane release propose out/coolant_pump --by dave --data-dir data
    """
    print(_image(data_dir).propose(releases, by))


@app.command()
def approve(
    proposal: ProposalArgument,
    key: Annotated[Path, typer.Option(help="the approver's private key")],
    data_dir: DataDir,
) -> None:
    """Sign a proposal with one approver's key.

    Example: control-plane release approve data/repository/proposals/targets-2 --key alice.pem --data-dir data
    """
    image = _image(data_dir)
    name = image.approve(proposal, load_signer(key, passphrase(key)))
    state = image.signatures(proposal)
    print(f"{proposal.name}: signed by {name}; {len(state.signed)} of {state.threshold} approvals")


@app.command()
def show(proposal: ProposalArgument, data_dir: DataDir, as_json: Json = False) -> None:
    """Who has signed a proposal and who could.

    Example: control-plane release show data/repository/proposals/targets-2 --data-dir data
    """
    state = _image(data_dir).signatures(proposal)
    if as_json:
        print(json.dumps(state._asdict()))
        return
    print(f"{proposal.name}: {len(state.signed)} of {state.threshold} approvals")
    print(f"  signed      {', '.join(state.signed) or 'nobody'}\n  could sign  {', '.join(state.missing)}")


@app.command()
def publish(
    proposal: ProposalArgument,
    online_key: Annotated[Path, typer.Option(help="private key of the snapshot and timestamp role")],
    data_dir: DataDir,
) -> None:
    """Publish an approved proposal.

    Example: control-plane release publish data/repository/proposals/targets-2 --online-key online.pem
    --data-dir data
    """
    image = _image(data_dir)
    image.publish(proposal, load_signer(online_key, passphrase(online_key)))
    print(f"published: {', '.join(image.releases()) or 'the first root'}")


@app.command()
def director(
    site: Annotated[str, typer.Argument(help="for example TX01")],
    key: Annotated[Path, typer.Option(help="the site's director key (private)")],
    data_dir: DataDir,
    trust: Annotated[Path, typer.Option(help="folder to leave both first roots in, for the site")],
) -> None:
    """Make a site's director repository, and what its agent is given to trust.

    Example: control-plane release director TX01 --key director-TX01.pem --trust trust/TX01 --data-dir data
    """
    image, own = _image(data_dir), Director(Layout(data_dir).repository, site)
    if not image.root.exists():
        raise ConfigError(str(image.root), ["is not there yet; `release init` and `publish` make it"])
    own.begin(load_signer(key, passphrase(key)))
    trust.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image.root, trust / "image_root.json")
    shutil.copyfile(own.root, trust / "director_root.json")
    print(f"{site}: {trust}/image_root.json and director_root.json go to the site, by a way it trusts")


def _image(data_dir: Path) -> ImageRepository:
    return ImageRepository(Layout(data_dir).repository)
