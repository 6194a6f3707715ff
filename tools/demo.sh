#!/usr/bin/env bash
# The whole path, one command per arrow: videos -> search -> train -> evaluate
# -> export -> classify. Run by `make demo`; stopped, the same command goes on.
#
#   demo.sh RUN_DIR [FOLDER_OF_CLASS_FOLDERS]
#
# An empty RUN_DIR stands for runs/demo, or runs/demo_ and the folder's name.
# Without a folder, synthetic clips are written first and searched for by
# gin/demo; with one, gin/videos says how.
set -euo pipefail

if (($# < 1)); then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

videos=${2:-}
run=${1:-runs/demo${videos:+_$(basename "$videos")}}
recipes=gin/demo
[ -z "$videos" ] || recipes=gin/videos
mkdir -p "$run"

step() { printf '\n== %s\n' "$*"; "$@"; }

if [ -z "$videos" ]; then
  videos=$run/videos
  [ -f "$videos/manifest.csv" ] || step autox3d-make-synthetic "$videos"
fi
step autox3d-scan "$videos" --out="$run/manifest.csv"
# The part to test on, and a clip of it where the list says which these are; a
# name may have anything but a zero byte in it.
{
  IFS= read -r -d '' part
  IFS= read -r -d '' example
} < <(python - "$run/manifest.csv" <<'END'
import sys
from autox3d_tf.data import manifest

usable = manifest.read_manifest(sys.argv[1]).select()
has_test_only = "test" in usable.splits and "val" not in usable.splits
part = "test" if has_test_only else "val"
of_part = (row for row in usable.rows if row.split == part)
clip = next(of_part, usable.rows[0])
print(part, usable.absolute_path(clip), sep="\0", end="\0")
END
)
step autox3d-make-records "$run/manifest.csv" --out="$run/records" || {
  code=$?
  echo "If the clips are others than before: make demo RUN_DIR=another" >&2
  exit $code
}
step autox3d-search --gin_file="$recipes/search.gin" --gin=DATA="$run/records" \
  --run_dir="$run/search"
step autox3d-train --gin_file="$recipes/train.gin" --gin=DATA="$run/records" \
  --gin=ARCH="$run/search" --gin=INIT_FROM="$run/search" --run_dir="$run/train"
trained=(--gin=TRAINED="$run/train" --gin=PART="$part")
step autox3d-evaluate --gin_file=gin/evaluate/trained.gin "${trained[@]}" \
  --gin=TEMPORAL_VIEWS=3 --run_dir="$run/evaluate"
step autox3d-export --gin_file=gin/export/trained.gin "${trained[@]}" \
  --run_dir="$run/export"
step autox3d-classify --model="$run/export/model_int8.tflite" "$example"
printf '\nDone in %d min %02d s: %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$run"
