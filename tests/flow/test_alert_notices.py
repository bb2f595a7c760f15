"""Notices of alerts over a real web server and a real mail server, as the centre sends them."""

import asyncio
import base64
import json
from contextlib import contextmanager
from datetime import timedelta
from email import message_from_bytes, policy

import pytest

from control_plane.alerts import notifier as module
from control_plane.alerts.channels import Email, Webhook, channels
from control_plane.alerts.notifier import GIVE_UP_AFTER, Notifier
from control_plane.alerts.settings import EmailSettings, WebhookSettings, notice_settings
from control_plane.layout import Layout
from control_plane.sinks.alerts import AlertSink
from control_plane.sinks.arrival import Arrival
from shared.envelope import Envelope
from shared.errors import ConfigError, Retryable
from shared.listen import free_port
from shared.schemas import Alert, utc_now
from tests.support.console_lake import PUMP, alert
from tests.support.kafka_tls import authority
from tests.support.notice_ends import hook, mailbox

DEADLINE_S = 60.0
SECRET = bytes(range(32))


class Rig:
    """A centre's alarm list, and the record of what was given up."""

    def __init__(self, folder):
        self.layout = Layout(folder)
        self.store = self.layout.alert_store()
        self.sink = AlertSink(self.store)
        self.seq = 0

    def tell(self, *alerts: Alert):
        for one in alerts:
            self.seq += 1
            self.sink.accept([Arrival(one, b"", Envelope(one.SCHEMA, "TX01", "store-TX01", self.seq, "c0"))])

    @contextmanager
    def telling(self, *ways, clock=utc_now):
        notifier = Notifier(self.store, ways, self.layout.centre_log(), clock)
        notifier.follow()
        with notifier.telling():
            yield


@pytest.fixture
def rig(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_PERIOD_S", 0.02)
    monkeypatch.setattr(module, "BACK_OFF_FIRST_S", 0.02)
    found = Rig(tmp_path)
    yield found
    found.store.close()


async def until(condition, what):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.02)
    assert condition(), what


def kinds(end):
    return [json.loads(body)["notice"] for _, body in end.posts]


def letter(envelope):
    return message_from_bytes(envelope.content, policy=policy.default)


async def test_each_step_of_an_alert_is_posted_once_in_order_and_signed(rig):
    with hook() as end:
        with rig.telling(Webhook(WebhookSettings(end.url, SECRET))):
            rig.tell(alert(PUMP, utc_now(), severity="warning"), alert(PUMP, utc_now(), state="escalated"))
            rig.store.acknowledge(["a1"], "A. Reyes", "crew is on its way")
            rig.tell(alert(PUMP, utc_now(), state="cleared"))
            await until(lambda: len(end.posts) == 4, "four notices")
        assert kinds(end) == ["raised", "escalated", "acknowledged", "cleared"]
        assert end.signed_by(SECRET) == [True] * 4
        headers, body = end.posts[2]
        told = json.loads(body)
        assert headers["webhook-id"] == told["notice_id"]
        assert told["alert"]["acknowledgement"]["who"] == "A. Reyes"


async def test_a_server_that_refuses_or_is_broken_is_asked_again_and_nothing_is_lost(rig):
    with hook() as end:
        end.answers = [503, 500, 401, 302, 429]
        with rig.telling(Webhook(WebhookSettings(end.url, None))):
            rig.tell(alert(PUMP, utc_now()))
            rig.tell(alert(PUMP, utc_now(), state="cleared"))
            await until(lambda: len(end.posts) == 7, "five refusals and two notices")
        assert kinds(end) == ["raised"] * 6 + ["cleared"]
        assert len({headers["webhook-id"] for headers, _ in end.posts}) == 2


async def test_what_was_not_told_when_the_process_ended_is_told_by_the_next(rig):
    """The notice commits with the alert; where nobody listens it waits in the file."""
    with hook() as end:
        way = Webhook(WebhookSettings(end.url, None))
        rig.store.follow(way.name)
        rig.tell(alert(PUMP, utc_now()))
        rig.store.close()
        with rig.telling(way):
            await until(lambda: len(end.posts) == 1, "the notice")
    assert kinds(end) == ["raised"]


async def test_a_message_that_is_refused_as_such_is_given_up_on_the_record_and_the_next_goes_out(rig):
    with hook() as end:
        end.answers = [400]
        with rig.telling(Webhook(WebhookSettings(end.url, None))):
            rig.tell(alert(PUMP, utc_now()))
            rig.tell(alert(PUMP, utc_now(), state="cleared"))
            await until(lambda: len(end.posts) == 2, "both notices")
    [entry] = rig.layout.centre_log().entries()
    assert (entry.act, entry.subject) == ("notice_given_up", "a1")
    assert entry.detail == {"channel": "webhook", "notice": "raised", "reason": "webhook: answered 400"}


async def test_a_notice_that_is_a_day_old_is_given_up_unsent(rig):
    with hook() as end:
        way = Webhook(WebhookSettings(end.url, None))
        rig.store.follow(way.name)
        rig.tell(alert(PUMP, utc_now()))
        later = GIVE_UP_AFTER + timedelta(seconds=1)
        with rig.telling(way, clock=lambda: utc_now() + later):
            await until(lambda: rig.store.next_notice(way.name) is None, "given up")
        assert end.posts == []
    assert [e.detail["reason"] for e in rig.layout.centre_log().entries()] == [
        "could not be told for 1 day, 0:00:00"
    ]


async def test_a_webhook_that_is_away_holds_up_neither_e_mail_nor_ingest(rig):
    port = free_port()
    with mailbox(port) as box:
        ways = channels(
            notice_settings(
                {
                    "PM_ALERT_WEBHOOK_URL": f"http://127.0.0.1:{free_port()}/",
                    "PM_ALERT_SMTP_URL": f"smtp://127.0.0.1:{port}",
                    "PM_ALERT_EMAIL_TO": "shift@plant.example, duty@plant.example",
                    "PM_ALERT_EMAIL_FROM": "centre@plant.example",
                }
            )
        )
        with rig.telling(*ways):
            rig.tell(alert(PUMP, utc_now(), message="Anomaly\r\nBcc: all@plant.example"))
            await until(lambda: box.letters, "the e-mail")
        [envelope] = box.letters
        assert envelope.rcpt_tos == ["shift@plant.example", "duty@plant.example"]
        found = letter(envelope)
        assert found["Subject"] == "Alarm: TX01/R1/coolant_pump: Anomaly Bcc: all@plant.example"
        assert "Bcc" not in found
        assert "Acknowledged:  by nobody yet" in found.get_content()
        assert rig.store.next_notice("webhook") is not None


async def test_a_mail_server_that_is_busy_is_asked_again_with_the_same_message_id(rig):
    port = free_port()
    with mailbox(port) as box:
        box.refusals = ["451 busy", "554 no"]
        way = Email(
            EmailSettings("smtp", "127.0.0.1", port, "", "", "centre@plant.example", ("a@b.example",))
        )
        with rig.telling(way):
            rig.tell(alert(PUMP, utc_now()))
            await until(lambda: rig.store.next_notice("email") is None, "the first is settled")
            rig.store.acknowledge(["a1"], "A. Reyes", "")
            await until(lambda: box.letters, "the second e-mail")
        assert "Acknowledged: TX01" in letter(box.letters[0])["Subject"]
    assert [e.detail["reason"] for e in rig.layout.centre_log().entries()] == ["e-mail: 554 b'no'"]


async def test_starttls_comes_before_the_password_and_a_strangers_certificate_is_refused(
    rig, tmp_path, monkeypatch
):
    port, ca = free_port(), authority(tmp_path)
    settings = notice_settings(
        {
            "PM_ALERT_SMTP_URL": f"smtp+starttls://centre:s%40crets@127.0.0.1:{port}",
            "PM_ALERT_EMAIL_TO": "shift@plant.example",
            "PM_ALERT_EMAIL_FROM": "centre@plant.example",
        }
    )
    [way] = channels(settings)
    with mailbox(port, tmp_path / "keystore.pem", "s@crets") as box:
        rig.store.follow(way.name)
        rig.tell(alert(PUMP, utc_now()))
        notice = rig.store.next_notice(way.name).notice
        with pytest.raises(Retryable, match="CERTIFICATE_VERIFY_FAILED"):
            way.send(notice)
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        way.send(notice)
        assert box.over_tls == [True]
        assert letter(box.letters[0])["Message-ID"] == f"<{notice.notice_id}@plant.example>"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"PM_ALERT_WEBHOOK_URL": "ftp://x/"}, "expected https://HOST"),
        ({"PM_ALERT_WEBHOOK_SECRET": "whsec_x"}, "PM_ALERT_WEBHOOK_URL is not"),
        ({"PM_ALERT_WEBHOOK_URL": "https://x/", "PM_ALERT_WEBHOOK_SECRET": "short"}, "openssl rand"),
        ({"PM_ALERT_SMTP_URL": "smtp://x"}, "e-mail needs PM_ALERT_EMAIL_TO, PM_ALERT_EMAIL_FROM too"),
        ({"PM_ALERT_SMTP_URL": "smtp://u:p@x"}, "password would go in clear"),
        ({"PM_ALERT_SMTP_URL": "smtp://x:99999"}, "expected smtps://HOST"),
        ({"PM_ALERT_SMTP_URL": "smtps://x", "PM_ALERT_EMAIL_TO": "nobody"}, "found 'nobody'"),
    ],
)
def test_settings_that_would_call_nobody_are_refused_at_the_start(settings, problem):
    mail = {"PM_ALERT_EMAIL_TO": "a@b.example", "PM_ALERT_EMAIL_FROM": "c@d.example"}
    given = mail | settings if "smtp" in str(settings) and "needs" not in problem else settings
    with pytest.raises(ConfigError, match=problem):
        notice_settings(given)


def test_a_webhooks_secret_is_base64_as_standard_webhooks_has_it():
    text = "whsec_" + base64.b64encode(SECRET).decode()
    found = notice_settings({"PM_ALERT_WEBHOOK_URL": "https://x/", "PM_ALERT_WEBHOOK_SECRET": text})
    assert found.webhook.secret == SECRET
    assert found.email is None
