"""Bearer tokens: kept as digests in a private file, good until they are taken back."""

import pytest

from control_plane.serving import tokens as rules
from control_plane.serving.tokens import TokenFile
from shared.errors import ConfigError, Rejected


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "LOOK_PERIOD_S", 0.0)
    return TokenFile(tmp_path / "tokens")


def test_a_token_is_good_until_it_is_taken_back(file):
    """Without a restart; the others stay good."""
    one, other = file.add("dashboard"), file.add("historian")
    assert file.holds(one)
    assert not file.holds(one[:-1])
    assert not file.holds("")
    file.remove("dashboard")
    assert (file.holds(one), file.holds(other)) == (False, True)
    with pytest.raises(Rejected, match="there are: historian"):
        file.remove("dashboard")


def test_a_new_token_of_a_name_ends_the_old_one(file):
    """Changing a token is making it again."""
    old, new = file.add("dashboard"), file.add("dashboard")
    assert (file.holds(old), file.holds(new)) == (False, True)


def test_no_token_lies_on_the_disk_in_clear(file):
    """Who reads the file cannot call."""
    token = file.add("dashboard")
    assert token not in file.path.read_text()
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_may_write_is_refused(file):
    """Its owner alone; it holds no token, so anybody may read it."""
    file.add("dashboard")
    file.path.chmod(0o444)
    file.read()  # as a platform mounts a secret
    file.path.chmod(0o620)
    with pytest.raises(ConfigError, match="chmod 600"):
        file.read()


def test_a_file_that_breaks_lets_nobody_in(file):
    """Closed when in doubt."""
    token = file.add("dashboard")
    file.path.write_text("dashboard sha256:\n")
    assert not file.holds(token)
    with pytest.raises(ConfigError, match="line 1: expected NAME sha256:HEX"):
        file.read()


def test_a_name_that_would_not_be_read_again_is_not_written(file):
    """A name with a blank or a new line makes no second line."""
    with pytest.raises(ConfigError, match="expected a name"):
        file.add("a sha256:\nb")
    assert not file.path.exists()
