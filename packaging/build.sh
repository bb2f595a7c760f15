#!/usr/bin/env bash
# The three wheels, and the agent's Debian package with a Python environment of its own, into dist/: `make package`.
# Needs no root. The version is shared.__version__; the libraries are those of requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
unset PYTHONPYCACHEPREFIX  # byte code belongs into the package

bin=.venv/bin root=build/deb home=build/deb/opt/edge-agent
installed=/opt/edge-agent
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' shared/src/shared/__init__.py)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export version SOURCE_DATE_EPOCH

rm -rf build/deb dist
mkdir -p "$root" dist
for distribution in shared edge_agent control_plane; do
  "$bin/uv" build --quiet --wheel --out-dir dist "$distribution"
done

echo "Installing the agent and its libraries: about a minute"
# Debian 12's Python and C library, whatever this machine has: no library is compiled here.
"$bin/uv" venv --quiet --python 3.11 "$home"
"$bin/uv" pip install --quiet --python "$home/bin/python" --link-mode copy --no-compile-bytecode \
  --python-platform x86_64-manylinux_2_36 --only-binary :all: -c requirements.txt \
  dist/pm_stack_smr_{shared,edge_agent}-"$version"-*.whl

# What names this machine goes; what is left is the agent at its place, run by Debian's Python.
rm -r "${home:?}/bin/"* "${home:?}/lib64"
find "$home" \( -name direct_url.json -o -name uv_cache.json -o -name .lock -o -name .gitignore -o -name CACHEDIR.TAG \) -delete
find "$home" -path '*.dist-info/RECORD' -exec sed -i -E '/(^\.\.\/|direct_url\.json,|uv_cache\.json,)/d' {} +
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n' > "$home/pyvenv.cfg"
ln -s /usr/bin/python3.11 "$home/bin/python"
install -m 755 /dev/stdin "$home/bin/edge-agent" <<LAUNCHER
#!$installed/bin/python -I
from edge_agent.cli import main

main()
LAUNCHER
# The agent may not write there, so its bytecode is there from the start; a new package brings new bytecode.
"$bin/python" -m compileall -q --invalidation-mode unchecked-hash -s "$root" -p / "$home/lib"

"$bin/nfpm" package --config packaging/nfpm.yaml --packager deb --target dist/
for file in dist/*; do
  echo "$(numfmt --to=si "$(stat -c %s "$file")")  $file"
done
