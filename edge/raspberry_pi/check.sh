#!/usr/bin/env bash
# Runs exported models as a Raspberry Pi with 64 bits would, on any Linux: the
# recognizer of this folder, Debian's Python, tflite-runtime 2.14 and PyAV for
# Arm, under emulation. Prints a table and fails where the Arm machine says
# something else than this one.
#
#   edge/raspberry_pi/check.sh VIDEO_FOLDER MODEL.tflite...
#
# Needs Debian's packages mmdebstrap and qemu-user-static, and downloads 100 MB
# into build/raspberry_pi the first time. Milliseconds under emulation mean
# nothing: take those of autox3d-benchmark on the device.
set -euo pipefail

if (($# < 2)); then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
for program in mmdebstrap qemu-aarch64-static; do
  if ! command -v "$program" > /dev/null; then
    echo "There is no $program: apt install mmdebstrap qemu-user-static" >&2
    exit 1
  fi
done

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=$repo/.venv/bin/python
if [[ ! -x $python ]]; then
  echo "There is no $python: make install" >&2
  exit 1
fi
build=$repo/build/raspberry_pi
scores=$repo/edge/raspberry_pi/scores.py
mkdir -p "$build"

if [[ ! -e $build/root/usr/bin/python3.11 ]]; then
  rm -rf "$build/root" "$build/new_root"
  mmdebstrap --quiet --arch=arm64 --variant=extract \
    --include=libpython3.11-stdlib,python3.11-minimal,libstdc++6,libbz2-1.0 \
    bookworm "$build/new_root" 2> "$build/mmdebstrap.log" ||
    { cat "$build/mmdebstrap.log" >&2; exit 1; }
  mv "$build/new_root" "$build/root"
fi
if [[ ! -e $build/packages ]]; then
  rm -rf "$build/new_packages"
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --target "$build/new_packages" --only-binary=:all: \
    --python-version 3.11 --implementation cp \
    --abi cp311 --abi abi3 --abi none \
    --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_34_aarch64 \
    tflite-runtime==2.14.0 'numpy<2' av absl-py
  mv "$build/new_packages" "$build/packages"
fi

expected=$(mktemp --suffix=.npz)
trap 'rm -f "$expected"' EXIT
rm "$expected"
PYTHONPATH=$repo/edge:$repo "$python" "$scores" "$expected" "$@"
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$build/packages:$repo/edge:$repo \
  qemu-aarch64-static -L "$build/root" "$build/root/usr/bin/python3.11" \
  "$scores" "$expected" "$@"
