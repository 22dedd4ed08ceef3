#!/usr/bin/env bash
# What an expert on the frozen embedded backbone reaches by rank classification, over all templates of its task.
#   bench/pocket.sh DATA [FOLDER]    DATA: what $MULTIGRAFT_DATA stands for; FOLDER: where the runs are kept
set -euo pipefail
cd "$(dirname "$0")/.."
export MULTIGRAFT_DATA=$1 OMP_NUM_THREADS=2
folder=${2:-runs/pocket}
mkdir -p bench/results/pocket
for task in sst2 ag_news; do
  resume=$([[ -e $folder/$task ]] && echo --resume || true)
  .venv/bin/multigraft train recipes/expert.yaml --output "$folder/$task" --set "tasks=[$task]" $resume
  for model in pocket "$folder/$task"; do
    name=$([[ $model == pocket ]] && echo "$task-untuned" || echo "$task")
    .venv/bin/multigraft evaluate "$model" --suite recipes/flan --task "$task" --examples 500 --max-input 128 --json \
      > "bench/results/pocket/$name.json"
  done
done
.venv/bin/python bench/pocket.py
