#!/usr/bin/env bash
# Repeats the measurements of benchmarks/results/*-cpu, in about 20 minutes on two idle cores:
#   FASTTRAIN_DATA=/path/to/tiny-imagenet-200 benchmarks/cpu_results.sh FOLDER
# PYTHON names an interpreter that has fasttrain's requirements; default: that of scripts/fasttrain.
set -euo pipefail
out=$(mkdir -p "${1:?usage: benchmarks/cpu_results.sh FOLDER}" && cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}
fasttrain() { if [ -n "${PYTHON:-}" ]; then "$PYTHON" -m fasttrain "$@"; else scripts/fasttrain "$@"; fi; }
shown() { echo "== $*" >&2; fasttrain "$@"; }  # the command, then its table

# whole epochs with evaluation, beside peers, in turns
data=(--classes 10 --limit-val 200 --device cpu)
shown bench e2e --peers --empty-cache "${data[@]}" --arch resnet18 --limit-train 1024 --batch-size 128 --rounds 6 \
  --json "$out/e2e-resnet18.json" --plot "$out/e2e-resnet18.png"
shown bench e2e --peers --empty-cache "${data[@]}" --arch resnet50 --limit-train 384 --batch-size 64 --rounds 4 \
  --json "$out/e2e-resnet50.json" --plot "$out/e2e-resnet50.png"

# the step alone: batch size and layout; what compiling brings
shown bench step --device cpu --batch-size 32,64,128,256 --channels-last true,false --repeats 3 \
  --json "$out/step.json" --plot "$out/step.png"
shown bench step --device cpu --batch-size 128 --compile off,default --repeats 3 --json "$out/step-compile.json"

# the loaders: the same batches, with each kind of augmentation
shown bench loader --device cpu --augment none,crop-flip,rrc --json "$out/loader.json" --plot "$out/loader.png"

# where the time goes
shown profile -a resnet50_maxpool "${data[@]}" --limit-train 1024 --batch-size 64 --steps 12 --out "$out/profile"

# a second run finds the compiled kernels of the first
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for turn in first second; do
  TORCHINDUCTOR_CACHE_DIR="$scratch/cache" shown run "${data[@]}" --limit-train 128 --limit-val 64 --batch-size 64 \
    --epochs 1 --compile default --out "$scratch/$turn" >/dev/null
  printf '{"run": "%s", ' "$turn"
  grep -o '"compile_seconds": [0-9.]*' "$scratch/$turn/metrics.jsonl" | tr '\n' '}'
  echo
done | tee "$out/compile-cache.jsonl"
