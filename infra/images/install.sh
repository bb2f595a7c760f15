#!/bin/sh
# In a Dockerfile's first stage: install distributions of this workspace, pinned, into /opt/pm-stack-smr.
#
#   infra/images/install.sh './shared' './control_plane[centre]'
#
# /run/secrets/registry, when there is one, says in lines NAME=VALUE how packages are fetched (UV_*, PIP_*,
# SSL_CERT_FILE); it reaches neither the image nor its history.
set -eu

if [ -s /run/secrets/registry ]; then
  set -a
  . /run/secrets/registry
  set +a
fi
command -v uv >/dev/null || python3.11 -m pip install --quiet --no-cache-dir "uv==$UV_VERSION"

uv venv --quiet --no-project --python "$(command -v python3.11)" /opt/pm-stack-smr
uv pip install --quiet --no-progress --python /opt/pm-stack-smr/bin/python --link-mode copy \
  --constraints requirements.txt --build-constraints requirements.txt "$@"

# Not needed to run: tests, sources of C and Cython, type stubs, what onnx and onnxruntime convert models with.
packages=/opt/pm-stack-smr/lib/python3.11/site-packages
find "$packages" -depth -type d \( -name tests -o -name test -o -name testing -path '*/numpy/*' \) -exec rm -rf {} +
find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.hpp' \
  -o -name '*.c' -o -name '*.cc' -o -name '*.a' \) -delete
# Compiled now: a read-only root keeps no compiled module, and each start would compile all anew.
python3.11 -m compileall -q -j 0 "$packages" || true
