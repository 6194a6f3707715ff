#!/usr/bin/env bash
# Measures the whole path on the real clips of pointing gestures: search under
# 40 M multiply-adds on folds 0 to 2, train, test on fold 3, export, classify;
# beside it the hand-scaled X3D of the same budget, trained the same way.
# Prints what stands in the README, with the time of each part.
#
#   measure_egogestar.sh MANIFEST_CSV RUN_DIR [SEEDS]
#
# Stopped, the same command goes on.
set -euo pipefail

if (($# < 2)); then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

manifest=$1
run=$2
seeds=${3:-0}
mkdir -p "$run"

step() {
  local begun=$SECONDS
  printf '\n== %s\n' "$*"
  "$@"
  printf -- '-- %d s\n' $((SECONDS - begun))
}

step autox3d-make-records "$manifest" --out="$run/records"
data=(--gin="DATA=$run/records")
step autox3d-search --gin_file=gin/search/egogestar.gin "${data[@]}" \
  --run_dir="$run/search"
for seed in $seeds; do
  for arch in searched x3d_ego; do
    [ "$arch" = searched ] && source=$run/search || source=$arch
    trained=$run/${arch}_seed$seed
    step autox3d-train --gin_file=gin/train/egogestar.gin "${data[@]}" \
      --gin=ARCH="$source" --gin=SEED="$seed" --run_dir="$trained"
    step autox3d-evaluate --gin_file=gin/evaluate/egogestar.gin \
      --gin=TRAINED="$trained"
    step autox3d-export --gin_file=gin/export/egogestar.gin "${data[@]}" \
      --gin=TRAINED="$trained" --run_dir="$trained/export"
  done
done
first=${seeds%% *}
step autox3d-classify \
  --model="$run/searched_seed$first/export/model_int8.tflite" \
  "$(dirname "$manifest")"/*/*_1.mp4
printf '\nAll in %d min %02d s.\n' $((SECONDS / 60)) $((SECONDS % 60))
