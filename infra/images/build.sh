#!/usr/bin/env bash
# Build the images with buildah, each from infra/Dockerfile.NAME: `make images`.
#
#   infra/images/build.sh [NAME ...]     without a name all: grpc_inference mlflow simulation edge_agent control_plane
#
# BASE_IMAGE is what they stand on; without it a Debian 12 is made here, once (base.sh: needs root).
# How packages are fetched (UV_*, PIP_*, the certificate authority) is that of this shell; it reaches the build as
# secrets, and neither an image nor its history.
set -euo pipefail
cd "$(dirname "$0")/../.."

declare -A tags=([grpc_inference]=inference [mlflow]=mlflow [simulation]=simulation [edge_agent]=edge-agent
  [control_plane]=control-plane)
names=("$@")
((${#names[@]})) || names=(grpc_inference mlflow simulation edge_agent control_plane)
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' shared/src/shared/__init__.py)
base=${BASE_IMAGE:-}
if [ -z "$base" ]; then
  base=localhost/pm-stack-smr-base:bookworm
  buildah inspect --type image "$base" >/dev/null 2>&1 || {
    echo "Making a base image of Debian 12: about 2 minutes"
    infra/images/base.sh "$base"
  }
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
ca=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
env | grep -E '^(UV|PIP)_[A-Z_]+=' | grep -vE '^(PIP_CERT|PIP_FIND_LINKS|UV_CACHE_DIR|UV_PROJECT[A-Z_]*)=' |
  sed -E "s/'/'\\\\''/g; s/=(.*)/='\1'/" >"$scratch/registry" || true
echo "SSL_CERT_FILE=/run/secrets/ca" >>"$scratch/registry"
# The base that is made here has no pip to install uv with; this checkout's is lent to the build.
uv=(); [ ! -x .venv/bin/uv ] || uv=(--volume "$(realpath .venv/bin/uv):/usr/local/bin/uv:ro")

for name in "${names[@]}"; do
  image=pm-stack-smr/${tags[$name]:?is not one of ${!tags[*]}}
  begun=$SECONDS
  buildah bud --isolation chroot --format docker --layers --quiet --build-arg BASE_IMAGE="$base" \
    --secret "id=registry,src=$scratch/registry" --secret "id=ca,src=$ca" "${uv[@]}" \
    --label org.opencontainers.image.version="$version" --label org.opencontainers.image.licenses=Apache-2.0 \
    --file "infra/Dockerfile.$name" --tag "$image:$version" . >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; exit 1; }
  printf '%-32s %5d MB  %3d s\n' "$image:$version" \
    "$(($(podman image inspect --format '{{.Size}}' "$image:$version") / 1000000))" "$((SECONDS - begun))"
done
