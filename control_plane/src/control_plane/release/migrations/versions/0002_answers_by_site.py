"""A site's answers are looked up one by one: a repeated one is not written again."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("journal_by_site", "journal", ["rollout_id", "site"])
