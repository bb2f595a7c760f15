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
  # shellcheck source=/dev/null
  . /run/secrets/registry
  set +a
fi
command -v uv >/dev/null || python3.11 -m pip install --quiet --no-cache-dir "uv==$UV_VERSION"

uv venv --quiet --no-project --python "$(command -v python3.11)" /opt/pm-stack-smr
uv pip install --quiet --no-progress --python /opt/pm-stack-smr/bin/python --link-mode copy \
  --constraints requirements.txt --build-constraints requirements.txt "$@"

install -m 755 infra/images/healthy.py /opt/pm-stack-smr/bin/healthy

# Not needed to run: what converts models and trains them, ONNX Runtime's library for programs in C (Python's module
# has it inside), pip (sqlite-utils names it for its plugins), tests, type stubs, and sources that have been compiled.
packages=/opt/pm-stack-smr/lib/python3.11/site-packages
uv pip uninstall --quiet --python /opt/pm-stack-smr/bin/python pip 2>/dev/null || true
rm -rf "$packages"/onnxruntime/transformers "$packages"/onnxruntime/tools "$packages"/onnxruntime/quantization \
  "$packages"/onnxruntime/datasets "$packages"/onnxruntime/capi/libonnxruntime.so.*
find "$packages" -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +
find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.hpp' \
  -o -name '*.c' -o -name '*.cc' -o -name '*.a' \) -delete
# Some packages carry templates that are no Python, which compileall complains about.
python3.11 -m compileall -q -j 0 "$packages" >/dev/null || true
