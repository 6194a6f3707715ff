#!/usr/bin/env bash
# Measures streaming: an X3D as a network of clips and, with causal time, as a
# stream of frames. Both are trained on folds 0 to 2 and tested on fold 3. Prints
# a table for each: top-1, size, milliseconds per clip and, for the stream, per
# frame.
#
#   measure_streaming.sh DATA RUN_DIR [SEEDS] [CLIPS]
#
# DATA is a manifest.csv or, read faster, what autox3d-make-records made. CLIPS
# says which configurations to take: egogestar, real clips of pointing gestures,
# or motion, synthetic ones (gin/clips/motion.gin).
# Stopped, the same command goes on.
set -euo pipefail

if (($# < 2)); then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

run=$2
seeds=${3:-0}
clips=${4:-egogestar}
mkdir -p "$run"

data=(--gin="DATA=$1")
for seed in $seeds; do
  for recipe in "$clips" "${clips}_stream"; do
    trained=$run/${recipe}_seed$seed
    printf '\n== %s, seed %s\n' "$recipe" "$seed"
    autox3d-train --gin_file="gin/train/$recipe.gin" "${data[@]}" \
      --gin=SEED="$seed" --run_dir="$trained"
    autox3d-export --gin_file="gin/export/$recipe.gin" "${data[@]}" \
      --gin=TRAINED="$trained" --run_dir="$trained/export"
  done
  autox3d-benchmark --threads_list=1 \
    "$run/${clips}_seed$seed/export/model_int8.tflite" \
    "$run/${clips}_stream_seed$seed/export"/model_*_stream.tflite
done
