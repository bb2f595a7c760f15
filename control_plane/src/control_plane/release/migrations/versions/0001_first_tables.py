"""The tables as the first release had them; a file of that release has them already."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    there = sa.inspect(op.get_bind()).get_table_names()
    if "sites" not in there:
        op.create_table(
            "sites",
            sa.Column("site_id", sa.String, primary_key=True),
            sa.Column("audit_key", sa.String, nullable=False),
            sa.Column("agent_version", sa.String, nullable=False),
            sa.Column("store_id", sa.String, nullable=False),
            sa.Column("models", sa.JSON, nullable=False),
            sa.Column("last_seen", sa.DateTime, nullable=False),
        )
    if "journal" not in there:
        op.create_table(
            "journal",
            sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("rollout_id", sa.String, nullable=False),
            sa.Column("generation", sa.Integer, nullable=False),
            sa.Column("site", sa.String, nullable=False),
            sa.Column("kind", sa.String, nullable=False),
            sa.Column("detail", sa.String, nullable=False),
            sa.Column("at", sa.DateTime, nullable=False),
        )
