"""`/completeness`: of every row that a site wrote down, whether it is here or why it is not."""

from control_plane.api.models import Completeness, FleetSnapshot
from control_plane.console import wording
from control_plane.console.frame import Frame
from control_plane.console.parts import Text, attribute, box, scrolled, visible
from control_plane.ingest.completeness import Account

COLUMNS = (
    "Site",
    "State",
    "Produced",
    "Arrived",
    "Not arrived yet",
    "Given up",
    "Unexplained",
    "Repeats dropped",
    "Polls missed",
)
EXPLANATION = (
    "A row that has not arrived yet may be at the site, in Kafka or in a bundle. It is unexplained once the "
    "site will not send it again, all that Kafka held has been read, and no gap record names it. A missed "
    "poll made no row: it was due while the one before ran over, or the site's machine was busy."
)


class CompletenessPage:
    """The page; `show` and `count` bring it up to date. The table is drawn anew when a number changed."""

    def __init__(self) -> None:
        self._frame = Frame("Records")
        self._shown: list[Account] | None = None
        with self._frame.content:
            with box("page-head"):
                Text("Records", "page-title", "h1")
            Text(EXPLANATION, "muted")
            self._problem = Text("Counting rows…", "section-title").props("data-testid=completeness-problem")
            with scrolled("records"):
                self._table = box("ledger", "table").props("data-testid=completeness")

    def show(self, snapshot: FleetSnapshot) -> None:
        """Clock and banner, which do not wait for a count."""
        self._frame.show(snapshot)

    def count(self, found: Completeness) -> None:
        """Every store's account."""
        nothing = "No site has written a record yet." if not found.stores else ""
        self._problem.show(found.problem or nothing)
        visible(self._problem, bool(found.problem or nothing))
        if found.stores == self._shown:
            return
        self._shown = found.stores
        self._table.clear()
        with self._table:
            with box(tag="thead"), box(tag="tr"):
                for name in COLUMNS:
                    Text(name, tag="th").props("scope=col")
            with box(tag="tbody"):
                for account in found.stores:
                    _row(account)


def _row(account: Account) -> None:
    level, word = wording.verdict(account)
    with box(tag="tr").props(f'data-testid="account-{account.site_id}"'):
        with box(tag="th").props("scope=row"):
            Text(account.site_id, tag="div")
            Text(account.store_id, "muted ledger-store")
        with box(tag="td"), box("chip") as chip:
            attribute(chip, "data-level", level.value)
            box("shape", "span").props("aria-hidden=true")
            Text(word, tag="span")
        for number in (account.produced, account.arrived, account.not_yet):
            Text(f"{number:,}", tag="td")
        Text(wording.explained(account), tag="td")
        with Text(wording.unexplained(account), tag="td") as cell:
            attribute(cell, "data-level", level.value if account.unexplained else None)
        Text(f"{account.repeats:,}", tag="td")
        Text("not said" if account.polls_missed is None else str(account.polls_missed), tag="td")
