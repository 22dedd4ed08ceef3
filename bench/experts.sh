#!/usr/bin/env bash
# The studies of docs/results_experts.md, at a size for two cores.
#   bench/experts.sh DATA [FOLDER]    DATA: what $MULTIGRAFT_DATA stands for; FOLDER: where the runs are kept
# A run that was stopped goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
export MULTIGRAFT_DATA=$1 OMP_NUM_THREADS=2
folder=${2:-runs/experts}
mkdir -p bench/results/experts
for name in minilm pocket; do
  for leave_out in task cluster nothing; do
    .venv/bin/multigraft experts judge recipes/flan --recipe "bench/experts_$name.yaml" --leave-out $leave_out \
      --output "$folder/$name"
    cp "$folder/$name/selection.json" "bench/results/experts/$name-$leave_out.json"
  done
  .venv/bin/multigraft experts clusters recipes/flan --recipe "bench/experts_$name.yaml" --output "$folder/$name" \
    $([[ $name == minilm ]] && echo --retrain)
  cp "$folder/$name/clusters.json" "bench/results/experts/$name-clusters.json"
done
.venv/bin/python bench/merging_study.py run "$folder"
.venv/bin/python bench/growth.py run "$folder/growth"
.venv/bin/python bench/composition.py run "$folder/composition"
.venv/bin/python bench/experts.py
