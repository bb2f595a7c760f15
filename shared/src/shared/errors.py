"""The four ways a part may fail, so that one place decides what a failure means."""

EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: systemd must not restart on it


class PmStackError(Exception):
    """Base of every error this project raises on purpose."""


class Retryable(PmStackError):
    """The other side is away or slow: wait, back off, try again."""


class Rejected(PmStackError):
    """This record can never be accepted: dead letter it, count it, go on."""


class Untrusted(PmStackError):
    """A release failed a check: keep the model in use and put the refusal on the record. A bundle of
    records failed one: take nothing of it.

    `check` names the check that failed, as an auditor would look it up.
    """

    def __init__(self, check: str, message: str) -> None:
        super().__init__(f"{check}: {message}")
        self.check = check


class ConfigError(PmStackError):
    """The configuration is wrong; `problems` lists every one with its place in the file."""

    def __init__(self, source: str, problems: list[str]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{source}: {count}", *(f"  - {p}" for p in problems)]))
        self.source = source
        self.problems = problems
