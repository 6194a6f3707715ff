#!/usr/bin/env bash
# Measures what weights trained on synthetic motions are worth where there are
# few real clips: ten pointing gestures with 1, 3, 5 and all clips per class,
# each from scratch and pre-trained, three seeds. Prints the table, and leaves
# it with a small JSON file per run in RESULTS (docs/results/transfer).
#
#   measure_transfer.sh MANIFEST_CSV RUN_DIR RESULTS [SEARCH_RUN_DIR]
#
# With the directory of a search, its network is used instead of x3d_ego, and
# the weights inherited from its supernet are a third start. Stopped, the same
# command goes on. THREADS=1 keeps to one core.
set -euo pipefail

if (($# < 3)); then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

manifest=$1
run=$2
results=$3
search=${4:-}
options=(--threads="${THREADS:-$(nproc)}")
start=()
if [ -n "$search" ]; then
  options+=(--gin=ARCH="$search")
  start=(--gin=INHERITED="$search")
fi
mkdir -p "$run"

[ -f "$run/synthetic/manifest.csv" ] ||
  autox3d-make-synthetic "$run/synthetic" --num_classes=8 \
    --clips_per_class=60 --frames=32 --size=64
autox3d-make-records "$run/synthetic/manifest.csv" --out="$run/motions"
autox3d-make-records "$manifest" --out="$run/gestures"
autox3d-train --gin_file=gin/train/egogestar.gin "${options[@]}" \
  --gin=DATA="$run/motions" --gin='data_options.DataOptions.exclude_labels=()' \
  --gin=EPOCHS=18 --gin=options.TrainingOptions.ema_decay=0.98 \
  --run_dir="$run/pretrained"
autox3d-evaluate --gin_file=gin/evaluate/egogestar.gin \
  --gin=TRAINED="$run/pretrained"
autox3d-transfer-table --gin_file=gin/transfer/egogestar.gin \
  "${options[@]}" "${start[@]}" --gin=DATA="$run/gestures" \
  --gin=PRETRAINED="$run/pretrained" --gin=RESULTS="$results" \
  --run_dir="$run/transfer"
