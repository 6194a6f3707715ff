#!/usr/bin/env bash
# Measures streaming on the real clips of pointing gestures: the hand-scaled X3D
# as a network of clips and, with causal time, as a stream of frames. Both are
# trained on folds 0 to 2 and tested on fold 3. Prints a table for each: top-1,
# size, milliseconds per clip and, for the stream, per frame.
#
#   measure_streaming.sh MANIFEST_CSV RUN_DIR [SEEDS]
#
# Stopped, the same command goes on.
set -euo pipefail

manifest=$1
run=$2
seeds=${3:-0}
mkdir -p "$run"

[ -d "$run/records" ] || autox3d-make-records "$manifest" --out="$run/records"
data=(--gin="DATA=$run/records")
for seed in $seeds; do
  for recipe in egogestar egogestar_stream; do
    trained=$run/${recipe}_seed$seed
    printf '\n== %s, seed %s\n' "$recipe" "$seed"
    autox3d-train --gin_file="gin/train/$recipe.gin" "${data[@]}" \
      --gin=SEED="$seed" --run_dir="$trained"
    autox3d-export --gin_file="gin/export/$recipe.gin" "${data[@]}" \
      --gin=TRAINED="$trained" --run_dir="$trained/export"
  done
  autox3d-benchmark --threads_list=1 \
    "$run/egogestar_seed$seed/export/model_int8.tflite" \
    "$run/egogestar_stream_seed$seed/export"/model_*_stream.tflite
done
