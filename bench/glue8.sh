#!/usr/bin/env bash
# The GLUE study of docs/results_multitask.md: recipes/glue8.yaml at sizes for two cores, one process per seed.
#   bench/glue8.sh DATA [FOLDER]    DATA: what $MULTIGRAFT_DATA stands for; FOLDER: where the runs are kept
# `short` has all rows; `long` has three of them, three times as long on three times the training rows. Training sets are
# cut to a multiple of N^(1/4) of the paper's N rows, which keeps the order of their sizes and brings the largest to
# 3.5 times the smallest. A run that was stopped goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
export MULTIGRAFT_DATA=$1 OMP_NUM_THREADS=1
folder=${2:-runs/glue8}
common=(
  --set backbone.pooling=mean --set training.batch_size=16 --set training.epochs=4 --set training.score_every=4
  --set training.choose=last --set training.checkpoint_seconds=600 --set scored_examples=500
  --set training.learning_rate=1.0e-4 --set training.module_learning_rate=1.0e-3
)
short() {
  .venv/bin/multigraft compare recipes/glue8.yaml --output "$folder/short" "${common[@]}" \
    --set 'title=PALs on eight GLUE tasks, short' --set training.steps=640 \
    --set 'examples={mnli: 1001, qqp: 982, qnli: 726, sst2: 644, cola: 385, stsb: 348, mrpc: 311, rte: 282}' \
    --set rows.8.training.module_learning_rate=2.0e-4 --set rows.9.training.module_learning_rate=2.0e-4 \
    --set rows.21.training.module_learning_rate=5.0e-4 --set rows.22.training.module_learning_rate=5.0e-4 \
    --set "seeds=$1"
}
long() {
  .venv/bin/multigraft compare recipes/glue8.yaml --output "$folder/long" "${common[@]}" \
    --set 'title=PALs on eight GLUE tasks, long' --set training.steps=1920 \
    --set 'examples={mnli: 3003, qqp: 2946, qnli: 2178, sst2: 1932, cola: 1155, stsb: 1044, mrpc: 933, rte: 846}' \
    --set 'rows=[{separate: true, schedule: round_robin}, {method: heads_only}, {method: pal}]' --set "seeds=$1"
}
for size in short long; do
  "$size" '[0]' &
  "$size" '[1]' &
  wait
  "$size" '[0, 1]'
  mkdir -p "bench/results/glue8/$size"
  cp "$folder/$size/results.json" "$folder/$size/report.html" "bench/results/glue8/$size/"
  .venv/bin/python bench/glue8.py "bench/results/glue8/$size/results.json"
done
