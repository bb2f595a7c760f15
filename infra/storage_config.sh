#!/usr/bin/env bash
# Buckets of Google Cloud Storage for what the centre keeps, with who may do what in each.
#
#   infra/storage_config.sh --project my-project [--region us-central1] [--retention-days 3650] [--dry-run]
#
# Idempotent: what is there already is left, settings are set again. --dry-run prints each gcloud call that would change
# something, and changes nothing; it asks for nothing either, so it needs no account.
#
#   PROJECT-pm-releases   the signed repositories; inference reads, the centre writes
#   PROJECT-pm-audit      tiles, checkpoints, audit tables; the centre adds and can neither change nor remove
#   PROJECT-pm-lake       Delta tables; the centre reads and writes
#   PROJECT-pm-artifacts  MLflow's; the centre reads and writes
#
# No bucket is public, now or later (public access prevention); access is by role alone (uniform bucket-level access).
set -euo pipefail
# shellcheck source=infra/cloud/gcloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud/gcloud.sh"

region=us-central1
retention_days=3650 # ten years; what your licence asks for is yours to know
parse_options "$@"
require_project

bucket() { # NAME, then settings of `gcloud storage buckets update`
  local url="gs://$project-pm-$1"
  shift
  present storage buckets describe "$url" ||
    change storage buckets create "$url" --location="$region" --uniform-bucket-level-access --public-access-prevention
  change storage buckets update "$url" --uniform-bucket-level-access --public-access-prevention "$@"
}

grant() { # BUCKET MEMBER ROLE
  change storage buckets add-iam-policy-binding "gs://$project-pm-$1" --member="$2" --role="$3"
}

service_account "$centre" "the centre: trains, signs, keeps"
service_account "$inference" "the inference service: reads releases"

bucket releases --versioning
bucket audit --retention-period="${retention_days}d"
bucket lake --versioning
bucket artifacts --versioning

grant releases "$(account "$centre")" roles/storage.objectUser
grant releases "$(account "$inference")" roles/storage.objectViewer
grant audit "$(account "$centre")" roles/storage.objectCreator # adds; no right to change or remove
grant audit "$(account "$centre")" roles/storage.objectViewer
grant lake "$(account "$centre")" roles/storage.objectUser
grant artifacts "$(account "$centre")" roles/storage.objectUser

say "buckets are ready. The audit bucket's retention can still be changed; to make it final, once you are sure:"
say "  gcloud storage buckets update gs://$project-pm-audit --lock-retention-period --project=$project"
