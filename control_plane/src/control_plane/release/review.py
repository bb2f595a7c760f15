"""What a person reads before they sign: what changes, measured against what is published, and who signed."""

from typing import Any

from tuf.api.metadata import Root

from control_plane.release.approval import signatures
from control_plane.release.gates import read_release
from control_plane.release.people import ONLINE, everybody
from control_plane.release.proposal import Proposal, notes_of, releases_of
from shared.schemas import Manifest


def review(proposal: Proposal) -> dict[str, Any]:
    """Everything about a proposal as plain values, from its folder alone."""
    published = proposal.published()
    change, targets, state = proposal.change(), proposal.targets.signed, signatures(proposal)
    by = proposal.proposer()
    return {
        "proposal": proposal.folder.name,
        "kind": proposal.kind,
        "reason": proposal.reason,
        "proposed_by": by[0] if by else None,
        "targets_version": targets.version,
        "expires": targets.expires.isoformat(),
        "adds": [_release(proposal, name, published) for name in releases_of(change.added)],
        "takes_away": releases_of(change.removed),
        "people": _people(proposal.roots[-1].signed if proposal.roots else None, proposal.proposed_root),
        "signed": state.signed,
        "missing": state.missing,
        "threshold": state.threshold,
        "met": state.met,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The same for a terminal."""
    by = f"proposed by {found['proposed_by']}" if found["proposed_by"] else "the first root"
    text = [f"{found['proposal']}: {found['kind']}, {by}, holds until {found['expires'][:10]}"]
    text += [f"  why         {found['reason']}"] if found["reason"] else []
    for each in found["adds"]:
        text.append(f"  adds        {each['release']} for {each['component_type']}, SHA-256 {each['sha256']}")
        text.append(
            f"              {each['golden_windows']} golden windows, trained on {each['training_data']}"
        )
        text.append(f"              registered as {each['registered'] or '- (proposed from a folder)'}")
        if each["evidence"]:
            text.append(f"              with {', '.join(each['evidence'])}")
        text.append(f"              {'metric':<28}{'proposed':>12}{each['against'] or 'published':>20}")
        for name, (new, old) in each["metrics"].items():
            text.append(f"              {name:<28}{_number(new):>12}{_number(old):>20}")
    text += [f"  takes away  {release}, for ever" for release in found["takes_away"]]
    text += [f"  people      {each}" for each in found["people"]]
    text.append(f"  signed      {', '.join(found['signed']) or 'nobody'} ({found['threshold']} needed)")
    text.append(f"  could sign  {', '.join(found['missing']) or 'nobody else'}")
    return ["".join(c if c.isprintable() else "?" for c in line) for line in text]  # no line of a thief's own


def _release(proposal: Proposal, name: str, published: dict[str, Manifest]) -> dict[str, Any]:
    manifest, _ = read_release(proposal.folder / name)
    old, notes = published.get(manifest.component_type), notes_of(proposal.targets.signed, name)
    before = old.metrics if old else {}
    return {
        "release": name,
        "component_type": manifest.component_type,
        "sha256": manifest.sha256,
        "golden_windows": len(manifest.golden),
        "training_data": manifest.training_data_version[:12],
        "registered": notes.registered,
        "evidence": sorted(notes.evidence),
        "against": old.folder if old else None,
        "metrics": {
            each: (manifest.metrics.get(each), before.get(each))
            for each in sorted(manifest.metrics.keys() | before.keys())
        },
    }


def _people(old: Root | None, proposed: Any) -> list[str]:
    """Who comes, who goes, whose key changes, in words."""
    if proposed is None:
        return []
    new: Root = proposed.signed
    before, after = everybody(old) if old else {}, everybody(new)
    found = [f"{name} goes" for name in sorted(before.keys() - after.keys())]
    for name, key in sorted(after.items()):
        what = "approver" if key.keyid in new.roles["targets"].keyids else "proposer"
        what = "snapshot and timestamp" if name == ONLINE else what
        if name not in before:
            found.append(f"{name} comes: {what}, key {key.keyid[:16]}")
        elif before[name].keyid != key.keyid:
            found.append(f"{name}, {what}, gets another key: {before[name].keyid[:16]} -> {key.keyid[:16]}")
    threshold = new.roles["targets"].threshold
    return found or [f"nobody changes; {threshold} approvals needed, holds until {new.expires:%Y-%m-%d}"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"
