#!/usr/bin/env bash
# Measures what an operation costs in accuracy: trains a network with other
# activations from scratch on folds 0 to 2 of synthetic clips
# (gin/clips/motion.gin), tests it on fold 3 in fp32 and int8, and prints the
# table of each.
#
#   measure_variants.sh DATA ARCH RUN_DIR [SEEDS] [VARIANTS]
#
# ARCH is a name, an arch.json or the run directory of a search. VARIANTS are
# as_it_is and those that autox3d-benchmark --variants writes; its files, in
# RUN_DIR/variants, tell on a device what each takes there. Stopped, the same
# command goes on. THREADS=1 keeps to one core.
set -euo pipefail

if (($# < 3)); then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

run=$3
seeds=${4:-0}
variants=${5:-as_it_is hard_swish relu}
threads=--threads=${THREADS:-$(nproc)}
mkdir -p "$run"

[ -d "$run/variants" ] ||
  autox3d-benchmark --arch="$2" --variants="$run/variants" --threads_list=1
for seed in $seeds; do
  for variant in $variants; do
    trained=$run/${variant}_seed$seed
    arch=$2
    [ $variant = as_it_is ] || arch=$(echo "$run"/variants/*_$variant.json)
    autox3d-train --gin_file=gin/train/motion.gin "$threads" --gin=DATA="$1" \
      --gin=ARCH="$arch" --gin=SEED="$seed" --run_dir="$trained"
    autox3d-export --gin_file=gin/export/motion.gin "$threads" --gin=DATA="$1" \
      --gin=TRAINED="$trained" --run_dir="$trained/export"
  done
done
for folder in "$run"/*_seed*; do
  printf '\n== %s\n' "$(basename "$folder")"
  cat "$folder/export/export.txt"
done
