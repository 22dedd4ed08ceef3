#!/usr/bin/env bash
# The GLUE study of docs/results_multitask.md: recipes/glue8.yaml at a size for two cores, one process per seed.
#   bench/glue8.sh DATA [FOLDER]    DATA: what $MULTIGRAFT_DATA stands for; FOLDER: where the runs are kept
# Training sets are cut to 40 N^(1/4) of the paper's N rows, which keeps the order of their sizes and brings the
# largest to 3.5 times the smallest. A run that was stopped goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
export MULTIGRAFT_DATA=$1 OMP_NUM_THREADS=1
folder=${2:-runs/glue8-small}
study() {
  .venv/bin/multigraft compare recipes/glue8.yaml --output "$folder" \
    --set 'title=PALs on eight GLUE tasks, small' \
    --set 'examples={mnli: 1001, qqp: 982, qnli: 726, sst2: 644, cola: 385, stsb: 348, mrpc: 311, rte: 282}' \
    --set training.steps=512 --set training.batch_size=16 --set training.epochs=4 --set training.score_every=4 --set training.choose=last \
    --set training.learning_rate=1.0e-4 --set training.module_learning_rate=1.0e-3 \
    --set rows.8.training.module_learning_rate=2.0e-4 --set rows.9.training.module_learning_rate=2.0e-4 \
    --set rows.21.training.module_learning_rate=5.0e-4 --set rows.22.training.module_learning_rate=5.0e-4 \
    --set scored_examples=500 --set training.checkpoint_seconds=600 --set "seeds=$1"
}
study '[0]' &
study '[1]' &
wait
study '[0, 1]'
mkdir -p bench/results/glue8
cp "$folder/results.json" "$folder/report.html" bench/results/glue8/
.venv/bin/python bench/glue8.py bench/results/glue8/results.json
