#!/usr/bin/env bash
# Make a base image of Debian 12 with Python 3.11, where no container registry is at hand.
#
#   infra/images/base.sh NAME        needs root, debootstrap and buildah
#
# The mirror is the one of this machine's own apt sources; it is not in the image.
set -euo pipefail

name=${1:?the name of the image, for example localhost/pm-stack-smr-base:bookworm}
suite=bookworm
# shellcheck disable=SC2016 # apt's own placeholders
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 2>/dev/null |
  awk -v suite="$suite" '$2 == suite && $3 == "main" {print $1; exit}')
[ -n "$mirror" ] || {
  echo "base.sh: no source of this machine's apt has $suite main; add one, or give \`make images BASE_IMAGE=\`" >&2
  exit 1
}
root=$(mktemp -d)
trap 'rm -rf "$root" "$root.log"' EXIT

debootstrap --variant=minbase --include=python3.11,ca-certificates "$suite" "$root" "$mirror" >"$root.log" 2>&1 || {
  tail -n 20 "$root.log" >&2
  exit 1
}
# As Debian's own slim images: no documents, no translations, no package cache, no list of a mirror.
rm -rf "$root"/usr/share/{doc,man,info,locale,lintian}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* \
  "$root"/var/log/* "$root"/etc/apt/sources.list "$root"/debootstrap
find "$root"/usr/lib/python3* -name __pycache__ -prune -exec rm -rf {} +
ln -sf python3.11 "$root/usr/bin/python3"

container=$(buildah from scratch)
buildah add --quiet "$container" "$root" / >/dev/null
buildah config --env PATH=/usr/local/bin:/usr/bin:/bin --env LANG=C.UTF-8 "$container"
buildah commit --quiet --rm "$container" "$name" >/dev/null
echo "$name: $(buildah inspect --type image --format '{{.FromImageID}}' "$name" | cut -c1-12)"
