#!/usr/bin/env bash
# The study of docs/results_transfer.md, at a size for two cores: every target from every source, and from none, on an
# encoder with heads and on a text-to-text model; then all predictors, judged.
#   bench/spot.sh DATA [FOLDER]    DATA: what $MULTIGRAFT_DATA stands for; FOLDER: where the runs are kept
# A run that was stopped goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
export MULTIGRAFT_DATA=$1 OMP_NUM_THREADS=2
folder=${2:-runs/spot}
targets=(rte cb mrpc cola wic tweet_irony)
sources=(mnli qqp qnli sst2 stsb sick_e tweet_emotion boolq trec ag_news)
common=(
  --set method.length=20 --set examples=1000 --set dev_examples=100 --set scored_examples=300 --set templates=all
  --set training.epochs=10 --set training.score_every=5 --set training.batch_size=16 --set training.part_positions=4096
)
matrix() {
  name=$1
  shift
  .venv/bin/multigraft transfer matrix recipes/flan --output "$folder/$name" --seeds 2 \
    "${targets[@]/#/--target=}" "${sources[@]/#/--source=}" "${common[@]}" "$@"
  mkdir -p "bench/results/spot/$name"
  cp "$folder/$name"/*.csv "bench/results/spot/$name/"
}
matrix minilm --backbone minilm --set backbone.pooling=mean --set training.max_length=64 --set training.steps=60
matrix pocket --backbone pocket --set text.max_input=128 --set text.max_target=12 --set training.steps=40
.venv/bin/python bench/spot.py
