"""The scripts that set up Google Cloud, against a `gcloud` that remembers what it was told to make."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from shared import __version__

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
PROJECT = "my-project-1"
# Notes each call; `describe` knows what `create` made.
GCLOUD = """#!/bin/bash
echo "$*" >> calls
name=$(printf '%s\\n' "$@" | grep -A1 -xE 'describe|create' | tail -1)
name=${name%%@*}
case " $* " in
  *" describe "*) grep -qxF "$name" made ;;
  *" create "*) grep -qxF "$name" made && exit 1; echo "$name" >> made ;;
esac
"""


@pytest.fixture
def run(tmp_path):
    """A script of `infra/` in a folder with that `gcloud`: exit code, output, and the calls it made."""
    (tmp_path / "gcloud").write_text(GCLOUD)
    (tmp_path / "gcloud").chmod(0o755)
    (tmp_path / "made").touch()

    def call(script: str, *options: str) -> tuple[int, str, list[str]]:
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [INFRA / script, *options],
            cwd=tmp_path,
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        return (
            done.returncode,
            done.stdout + done.stderr,
            calls.read_text().splitlines() if calls.exists() else [],
        )

    return call


@pytest.mark.parametrize("script", ["gcp_setup.sh", "storage_config.sh"])
def test_a_second_run_makes_nothing_anew(run, script):
    """The stand-in refuses to make twice what there is, as the real one does."""
    code, said, first = run(script, "--project", PROJECT)
    assert code == 0, said
    assert any(" create " in call for call in first)
    code, said, second = run(script, "--project", PROJECT)
    assert code == 0, said
    assert [call for call in second if " create " in call] == []


@pytest.mark.parametrize("script", ["gcp_setup.sh", "storage_config.sh"])
def test_a_dry_run_shows_each_call_and_makes_none(run, script):
    """What it prints is what a first run does."""
    code, said, calls = run(script, "--project", PROJECT, "--dry-run")
    assert code == 0, said
    assert calls == []
    shown = [line for line in said.splitlines() if line.startswith("gcloud ")]
    _, _, made = run(script, "--project", PROJECT)
    verbs = [" ".join(line.replace("\\", "").split()[1:4]) for line in shown]
    assert verbs == [" ".join(call.split()[:3]) for call in made if " describe " not in call]


@pytest.mark.parametrize("script", ["gcp_setup.sh", "storage_config.sh"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--project: found ''; expected a project id"),
        (["--project", "No_Such"], "found 'No_Such'"),
        (["--projct", PROJECT], "--projct is no option; --help lists them"),
        (["--project"], "--project wants a value"),
    ],
)
def test_a_wrong_option_is_told_before_any_call(run, script, options, says):
    code, said, calls = run(script, *options)
    assert (code, calls) == (2, [])
    assert says in said


def test_nothing_is_public_and_the_audit_bucket_is_only_added_to(run):
    """Public access is prevented everywhere; no one may change or remove what is in the audit bucket."""
    _, _, calls = run("storage_config.sh", "--project", PROJECT)
    created = [call for call in calls if "buckets create" in call]
    assert len(created) == 4
    assert all("--public-access-prevention" in call for call in created)
    assert not any("allUsers" in call or "allAuthenticatedUsers" in call for call in calls)
    audit = [call for call in calls if "add-iam-policy-binding gs://my-project-1-pm-audit" in call]
    assert {call.split("--role=")[1].split()[0] for call in audit} == {
        "roles/storage.objectCreator",
        "roles/storage.objectViewer",
    }
    _, _, calls = run("gcp_setup.sh", "--project", PROJECT)
    assert not any("allUsers" in call or "owner" in call or "editor" in call for call in calls)


def test_the_service_speaks_http2_asks_for_tokens_and_is_closed_to_the_internet():
    service = yaml.safe_load((INFRA / "deploy_config.yaml").read_text())
    assert service["metadata"]["annotations"]["run.googleapis.com/ingress"] != "all"
    [container] = service["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "h2c", "containerPort": 8080}]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in service["spec"]["template"]["spec"]["volumes"]}
    settings = {each["name"]: each["value"] for each in container["env"]}
    assert settings["PM_INFERENCE_TOKENS"].startswith("/secrets/")


def test_the_image_that_is_built_has_the_version_of_the_code():
    """Which is the one that `gcp_setup.sh` deploys."""
    build = yaml.safe_load((INFRA / "cloudbuild.yaml").read_text())
    assert build["substitutions"]["_TAG"] == __version__
    [image] = build["images"]
    assert image.endswith("/pm-stack-smr/grpc_inference:${_TAG}")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck: apt-get install shellcheck")
def test_shell_scripts_are_clean():
    scripts = [str(path) for path in sorted(INFRA.rglob("*.sh"))]
    done = subprocess.run(
        ["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
