#!/usr/bin/env bash
# The recipe for any clips, gin/train/scratch.gin, end to end at a small scale:
# only sizes are given here, the rest is as shipped. Eight synthetic motions,
# 100 videos each; x3d_ego on clips of 8 frames of 32x32, an eighth of the
# multiply-adds it is made for. A fifth of the videos is held out and tested.
#
#   reproduce_synthetic.sh RUN_DIR [RESULTS]
#
# RESULTS gets the accuracy with its protocol, the learning curve and the model
# card. Stopped, the same command goes on. THREADS=1 keeps to one core.
set -euo pipefail

if (($# < 1)); then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

run=$1
results=${2:-$run/results}
threads=--threads="${THREADS:-$(nproc)}"
mkdir -p "$run" "$results"

[ -f "$run/synthetic/manifest.csv" ] ||
  autox3d-make-synthetic "$run/synthetic" --num_classes=8 \
    --clips_per_class=100 --frames=32 --size=48
autox3d-make-records "$run/synthetic/manifest.csv" --out="$run/records"
autox3d-train --gin_file=gin/train/scratch.gin "$threads" \
  --gin=DATA="$run/records" --gin=CLIP_FRAMES=8 --gin=CROP_SIZE=32 \
  --gin='SHORT_SIDES=(32, 40)' --run_dir="$run/train"
autox3d-evaluate --gin_file=gin/evaluate/trained.gin "$threads" \
  --gin=TRAINED="$run/train" --gin=TEMPORAL_VIEWS=5
cp "$run/train/curve.jsonl" "$run/train/evaluation_val_5x1/evaluation.json" \
  "$run/train/evaluation_val_5x1/evaluation.txt" \
  "$run/train/evaluation_val_5x1/model_card.md" "$results"
