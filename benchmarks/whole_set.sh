#!/usr/bin/env bash
# The study on the whole set with progressive sizes: six variants, 200 classes, 100,000 images.
#   benchmarks/whole_set.sh DATA FOLDER
# The same command continues it after an interruption (SIGTERM saves). One thread and the lowest priority, so that it runs
# beside other work and its rows stay comparable; needs a CPU with native bf16.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
data=$1 folder=$2
export OMP_NUM_THREADS=1
study() {
  nice -n 19 "$root/scripts/fasttrain" ablate --data "$data" --precision bf16 --batch-size 256 \
    --set sizes=32x5,48x2,64x1 "$@"
}
study --archs resnet18 --seeds 3 --out "$folder/resnet18"
study --archs resnet50 --seeds 1 --out "$folder/resnet50"
