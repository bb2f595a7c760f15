"""Requests to a running agent: a folder of small files, each written whole, answered and removed.

Whoever may write in the agent's data folder may ask. A request is carried out soon or never: one that found
no agent is withdrawn by whoever asked, and refused when it is old.
"""

import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from shared.config_errors import describe
from shared.errors import Rejected
from shared.schemas import Frozen, UtcTime, utc_now
from shared.schemas.alert import OPERATOR_CHARS_MAX, REASON_CHARS_MAX

SHELVE_MAX = timedelta(hours=12)  # a shift: whoever comes next decides anew (ISA-18.2: for a limited time)
PREFIX_CHARS_MIN = 4  # of an alert's id
REQUEST_S_MAX = 120.0  # older ones are not carried out: the plant is another by now
ANSWER_KEPT_S = 3_600.0  # for whoever asked and did not wait
REQUESTS_MAX = 100  # taken at a time
BYTES_MAX = 16 * 1024  # of one request

_NAME = re.compile(r"[0-9a-f]{32}\.request")


class AlarmRequest(Frozen):
    """What an operator asks for; `alert` is an alert's id or how it begins, `until` goes with `shelve`."""

    request: str = Field(pattern=r"^[0-9a-f]{32}$", default_factory=lambda: uuid.uuid4().hex)
    action: Literal["shelve", "unshelve", "reset"]
    alert: str = Field(min_length=PREFIX_CHARS_MIN, max_length=64)
    operator: str = Field(min_length=1, max_length=OPERATOR_CHARS_MAX)
    reason: str = Field(min_length=1, max_length=REASON_CHARS_MAX)
    asked_at: UtcTime = Field(default_factory=utc_now)
    until: UtcTime | None = None

    @model_validator(mode="after")
    def _shelved_for_a_time(self) -> Self:
        if (self.action == "shelve") != (self.until is not None):
            raise ValueError("until goes with shelve, and only with it")
        if self.until is not None and not timedelta() < self.until - self.asked_at <= SHELVE_MAX:
            raise ValueError(f"an alert is shelved for {SHELVE_MAX} at most, and not for nothing")
        return self


class RequestSpool:
    """Both sides of the folder `alarm-requests` in the agent's data folder."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "alarm-requests"

    # --- who asks ---------------------------------------------------------------------------------

    def ask(self, request: AlarmRequest) -> None:
        """Hand a request in."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _write(self._request(request.request), request.model_dump_json())

    def answer_to(self, request: AlarmRequest) -> dict[str, str] | None:
        """The agent's answer: `done` or `refused`, with words; None as yet. It is given once."""
        path = self._answer(request.request)
        try:
            found: dict[str, str] = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        return found

    def withdraw(self, request: AlarmRequest) -> None:
        """Take a request back that nobody answered."""
        self._request(request.request).unlink(missing_ok=True)

    # --- the agent --------------------------------------------------------------------------------

    def take(self) -> list[AlarmRequest]:
        """The requests that may be carried out, oldest first; the others are refused here.

        The folder is made here, so that it is the agent's, who removes what others put into it.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return []  # a disk that takes nothing: the site goes on
        self._forget_old_files()
        found = []
        for path in sorted(self._waiting(), key=_age_s, reverse=True)[:REQUESTS_MAX]:
            try:
                found.append(_read(path))
            except FileNotFoundError:
                continue  # withdrawn
            except Rejected as error:
                self.answer(path.stem, refused=str(error))
        return found

    def answer(self, request: str, **said: str) -> None:
        """Answer, then forget the request; one of before a kill is asked again, and done once."""
        with suppress(OSError):  # a full disk keeps the answer away, and nothing else
            _write(self._answer(request), json.dumps(said))
        self._request(request).unlink(missing_ok=True)

    def _waiting(self) -> Iterator[Path]:
        return (path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))

    def _forget_old_files(self) -> None:
        """Answers that nobody took, and what was not written whole."""
        for path in self._folder.iterdir():
            if not _NAME.fullmatch(path.name) and _age_s(path) > ANSWER_KEPT_S:
                path.unlink(missing_ok=True)

    def _request(self, request: str) -> Path:
        return self._folder / f"{request}.request"

    def _answer(self, request: str) -> Path:
        return self._folder / f"{request}.answer"


def _read(path: Path) -> AlarmRequest:
    with path.open("rb") as file:
        data = file.read(BYTES_MAX + 1)
    try:
        request = AlarmRequest.model_validate_json(data)
    except ValidationError as error:
        raise Rejected("; ".join(describe(error))) from error
    if request.request != path.stem:
        raise Rejected(f"{path.name} holds the request {request.request}")
    age_s = (utc_now() - request.asked_at).total_seconds()
    if abs(age_s) > REQUEST_S_MAX:
        raise Rejected(f"it was asked {age_s:.0f} s ago, {REQUEST_S_MAX:.0f} s is the most; ask again")
    return request


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text(text)
    temporary.rename(path)


def _age_s(path: Path) -> float:
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime
    return 0.0
