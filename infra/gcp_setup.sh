#!/usr/bin/env bash
# Deploys the inference service to Cloud Run: APIs, image repository, service accounts, the callers' tokens, the service.
#
#   infra/gcp_setup.sh --project my-project [--region us-central1] [--image IMAGE] [--dry-run]
#
# Idempotent. --dry-run prints each gcloud call that would change something, and changes nothing. First infra/storage_config.sh makes the
# buckets, `control-plane archive --to gs://my-project-pm-releases` fills the one of releases, and infra/cloudbuild.yaml builds the image.
#
# Nobody may call by default. Cloud Run lets a caller in by its IAM role (roles/run.invoker, shown at the end); the service itself asks
# for a bearer token of `control-plane token` on top, so that a wrong role alone gives nobody a prediction.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=infra/cloud/gcloud.sh
source "$here/cloud/gcloud.sh"

region=us-central1
image=
parse_options "$@"
require_project
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$here/../shared/src/shared/__init__.py")
image=${image:-$region-docker.pkg.dev/$project/pm-stack-smr/grpc_inference:$version}
tokens=pm-inference-tokens # secret: the file that `control-plane token add NAME --file FILE` writes
fleet=pm-fleet             # secret: reactor_config.yaml, the fleet's file
root=pm-releases-root      # secret: root.json of the image repository, carried here by hand, so that a bucket alone is not believed

change services enable run.googleapis.com artifactregistry.googleapis.com secretmanager.googleapis.com cloudbuild.googleapis.com

present artifacts repositories describe pm-stack-smr --location="$region" ||
  change artifacts repositories create pm-stack-smr --location="$region" --repository-format=docker --immutable-tags

service_account "$inference" "the inference service: reads releases"

for secret in "$tokens" "$root" "$fleet"; do
  present secrets describe "$secret" || change secrets create "$secret" --replication-policy=automatic
  change secrets add-iam-policy-binding "$secret" --member="$(account "$inference")" --role=roles/secretmanager.secretAccessor
done
for pair in "$tokens:inference-tokens" "$root:root.json" "$fleet:reactor_config.yaml"; do
  if [ -e "${pair#*:}" ]; then
    change secrets versions add "${pair%%:*}" --data-file="${pair#*:}"
  else
    say "note: no ${pair#*:} in this folder; the secret ${pair%%:*} keeps what it has, and the service does not start without a version"
  fi
done

service=$(mktemp)
trap 'rm -f "$service"' EXIT
sed -e "s|\${PROJECT}|$project|g" -e "s|\${IMAGE}|$image|g" -e "s|\${REGION}|$region|g" "$here/deploy_config.yaml" >"$service"
change run services replace "$service" --region="$region"

say "deployed. To let the centre call it:"
say "  gcloud run services add-iam-policy-binding pm-inference --region=$region --project=$project \\"
say "    --member=$(account "$centre") --role=roles/run.invoker"
