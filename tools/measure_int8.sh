#!/usr/bin/env bash
# Measures what int8 costs on the clips of pointing gestures, cross-validated:
# trains the hand-scaled X3D (SE and swish) and a searched network on three
# folds each, tests fp32, int8, the doctor's choice and fine-tuned int8 on the
# fourth, and prints the table.
#
#   measure_int8.sh MANIFEST_CSV RUN_DIR SEARCHED_ARCH [RESULTS [--gin=...]]
#
# SEARCHED_ARCH is an arch.json or the run directory of a search; what follows
# RESULTS is said to the trainings. Stopped, the same command goes on.
set -euo pipefail

if (($# < 3)); then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi

manifest=$1
run=$2
searched=$3
results=${4:-$run/results}
trainings=("${@:5}")
mkdir -p "$run"

autox3d-make-records "$manifest" --out="$run/records"
trained=()
for fold in 0 1 2 3; do
  case $fold in
    0) others='(1,2,3)' ;; 1) others='(0,2,3)' ;;
    2) others='(0,1,3)' ;; 3) others='(0,1,2)' ;;
  esac
  for arch in x3d_ego searched; do
    [ $arch = searched ] && source=$searched || source=$arch
    folder=$run/${arch}_$fold
    autox3d-train --gin_file=gin/train/egogestar.gin \
      --gin="DATA=$run/records" --gin=ARCH="$source" \
      --gin="TRAIN_FOLDS=$others" --gin="TEST_FOLDS=($fold,)" \
      --run_dir="$folder" "${trainings[@]}"
    trained+=("$folder")
  done
done
autox3d-cross-validate-int8 --out="$results" "${trained[@]}"
