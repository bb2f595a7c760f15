"""`control-plane release`: from a trained model to one that sites may run."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from control_plane.audit.centre_log import CentreAct
from control_plane.commands.options import DataDir, Json
from control_plane.commands.record import on_record
from control_plane.commands.signing import By, KeyOption, open_key, people_of, trusted_root_of
from control_plane.layout import Layout
from control_plane.release import approval
from control_plane.release.ceremony import directors_naming, refuse_second_duty
from control_plane.release.director import Director
from control_plane.release.image import Candidate, ImageRepository
from control_plane.release.keys import load_public
from control_plane.release.proposal import Proposal, read_signature, write_signature
from control_plane.release.review import lines, review
from shared.errors import ConfigError

app = typer.Typer(no_args_is_help=True)

ProposalArgument = Annotated[Path, typer.Argument(help="folder, as `init` and `propose` print it")]
THRESHOLD = 2  # of three approvers


@app.command()
def init(
    data_dir: DataDir,
    approver: Annotated[list[str], typer.Option(help="NAME=FILE.pub; three people or more")],
    proposer: Annotated[list[str], typer.Option(help="NAME=FILE.pub; people who propose, never approve")],
    online: Annotated[Path, typer.Option(help="public key of the snapshot and timestamp role")],
    threshold: Annotated[int, typer.Option(help="how many of them must approve")] = THRESHOLD,
) -> None:
    """Propose the image repository's root; it counts once enough of its approvers have signed it.

    Example: control-plane release init --approver alice=alice.pub --approver bob=bob.pub
    --approver carol=carol.pub --proposer dave=dave.pub --online online.pub --data-dir data
    """
    people, proposing = people_of(approver, "--approver"), people_of(proposer, "--proposer")
    with on_record(Layout(data_dir), CentreAct.ROOT_PROPOSED, CentreAct.RELEASE_REFUSED, "root-1"):
        folder = _image(data_dir).begin(people, load_public(online, "online"), threshold, proposing)
    print(folder)


@app.command()
def propose(
    by: By,
    data_dir: DataDir,
    releases: Annotated[
        list[Path] | None, typer.Argument(help="folders with model.onnx and manifest.json")
    ] = None,
    model_uri: Annotated[
        list[str] | None, typer.Option(help="models:/NAME/VERSION; in place of folders or beside them")
    ] = None,
    reason: Annotated[str, typer.Option(help="why, for those who are to approve it")] = "",
    tracking_uri: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="default: mlflow.db in --data-dir")
    ] = None,
) -> None:
    """Stage releases for one approval; prints the proposal's folder.

    Refused: weights outside the file, a missing signature or feature spec, a model that fails its own
    golden windows or that is not the registered one.

    Example: control-plane release propose --model-uri models:/coolant_pump/2 --by dave.pem --data-dir data
    """
    from control_plane.registry.mlflow_registry import ModelRegistry
    from control_plane.release.candidates import from_folder, from_registry, pass_gates

    layout, uris = Layout(data_dir), model_uri or []
    if not (releases or uris):
        raise ConfigError("release propose", ["names neither a folder nor a --model-uri"])
    signer, registry = open_key(by), ModelRegistry(tracking_uri or layout.tracking_uri)
    subject = ", ".join([*map(str, releases or []), *uris])
    with (
        on_record(Layout(data_dir), CentreAct.RELEASE_PROPOSED, CentreAct.RELEASE_REFUSED, subject),
        tempfile.TemporaryDirectory() as staging,
    ):
        found: list[Path | Candidate] = [from_folder(folder, registry) for folder in releases or []]
        found += [from_registry(uri, registry, Path(staging)) for uri in uris]
        for candidate in found:
            pass_gates(candidate, registry, layout.centre_log())  # type: ignore[arg-type]
        folder = _image(data_dir).propose(found, signer, reason)
    print(folder)


@app.command()
def show(proposal: ProposalArgument, as_json: Json = False) -> None:
    """What is proposed, its metrics beside those of what is published, who signed and who could.

    Example: control-plane release show data/repository/proposals/targets-2
    """
    found = review(Proposal.open(proposal))
    print(json.dumps(found) if as_json else "\n".join(lines(found)))


@app.command()
def approve(
    proposal: ProposalArgument,
    key: KeyOption,
    output: Annotated[
        Path | None, typer.Option(help="the signature's file; default: in the proposal's folder")
    ] = None,
    trusted_root: Annotated[
        Path | None, typer.Option(help="your own root; default: NAME.root.json beside NAME.pem")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask; for a script")] = False,
) -> None:
    """Check a proposal and sign it, on any machine: its folder is enough. Take the signature back.

    Example: control-plane release approve /media/stick/targets-2 --key alice.pem
    """
    print("\n".join(lines(review(Proposal.open(proposal)))))
    signer = open_key(key)
    if not yes:
        typer.confirm("Sign this?", abort=True)
    found = approval.approve(proposal, signer, trusted_root_of(key, trusted_root))
    if output:
        output.write_text(found.model_dump_json(indent=2) + "\n")
    path = output or write_signature(proposal, found)
    print(f"checked, and signed by {found.name}: {path}")


@app.command("add-signature")
def add_signature(
    proposal: ProposalArgument,
    signature: Annotated[Path, typer.Argument(help="file, as `approve` wrote it")],
    data_dir: DataDir,
) -> None:
    """Take back what an approver signed elsewhere.

    Example: control-plane release add-signature data/repository/proposals/targets-2 alice.json
    --data-dir data
    """
    with on_record(
        Layout(data_dir), CentreAct.RELEASE_APPROVED, CentreAct.APPROVAL_REFUSED, proposal.name
    ) as note:
        found = read_signature(signature)
        note["by"] = found.name
        approval.add_signature(proposal, found)
    state = _image(data_dir).signatures(proposal)
    print(f"{proposal.name}: signed by {found.name}; {len(state.signed)} of {state.threshold} approvals")


@app.command()
def publish(
    proposal: ProposalArgument,
    online_key: Annotated[str, typer.Option(help="key of the snapshot and timestamp role")],
    data_dir: DataDir,
) -> None:
    """Publish an approved proposal.

    Example: control-plane release publish data/repository/proposals/targets-2 --online-key online.pem
    --data-dir data
    """
    image, found = _image(data_dir), Proposal.open(proposal)
    act = {
        "root": CentreAct.ROOT_PUBLISHED,
        "release": CentreAct.RELEASE_PUBLISHED,
        "revocation": CentreAct.RELEASE_REVOKED,
    }[found.kind]
    online, taken = open_key(online_key), review(found)
    with on_record(Layout(data_dir), act, CentreAct.RELEASE_REFUSED, proposal.name) as note:
        note["signed"] = ", ".join(taken["signed"])
        note["what"] = "; ".join(
            [*(e["release"] for e in taken["adds"]), *taken["takes_away"], *taken["people"]]
        )
        image.publish(proposal, online)
    print(f"published: {', '.join(image.releases()) or 'the root, and no release yet'}")
    for release in taken["takes_away"]:
        for site in directors_naming(Layout(data_dir).repository, release):
            print(f"{site}: its director names {release}; roll another release out to it")


@app.command()
def revoke(
    release: Annotated[str, typer.Argument(help="NAME/VERSION, as it is published")],
    reason: Annotated[str, typer.Option(help="why; it goes on the record")],
    by: By,
    data_dir: DataDir,
) -> None:
    """Propose to take a release away, for ever under that name; prints the proposal's folder.

    Approve and publish it like a release. Example: control-plane release revoke coolant_pump/2
    --reason "drifts after 50 cycles" --by dave.pem --data-dir data
    """
    with on_record(Layout(data_dir), CentreAct.RELEASE_PROPOSED, CentreAct.RELEASE_REFUSED, release) as note:
        note["reason"] = f"revocation: {reason}"
        folder = _image(data_dir).propose_revocation([release], open_key(by), reason)
    print(folder)


@app.command()
def director(
    site: Annotated[str, typer.Argument(help="for example TX01")],
    key: Annotated[str, typer.Option(help="the site's director key (private)")],
    data_dir: DataDir,
    trust: Annotated[Path, typer.Option(help="folder to leave both first roots in, for the site")],
) -> None:
    """Make a site's director repository, and what its agent is given to trust.

    Example: control-plane release director TX01 --key director-TX01.pem --trust trust/TX01 --data-dir data
    """
    repository = Layout(data_dir).repository
    image, own = ImageRepository(repository), Director(repository, site)
    if not image.root.exists():
        raise ConfigError(str(image.root), ["is not there yet; `release init` and `publish` make it"])
    signer = open_key(key)
    with on_record(Layout(data_dir), CentreAct.DIRECTOR_MADE, CentreAct.RELEASE_REFUSED, site):
        refuse_second_duty(repository, site, signer.public_key)
        own.begin(signer)
    trust.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image.root, trust / "image_root.json")
    shutil.copyfile(own.root, trust / "director_root.json")
    print(f"{site}: {trust}/image_root.json and director_root.json go to the site, by a way it trusts")


def _image(data_dir: Path) -> ImageRepository:
    return ImageRepository(Layout(data_dir).repository)
