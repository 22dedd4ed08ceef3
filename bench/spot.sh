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
matrix pocket --backbone pocket --set "templates=no template" --set text.max_input=96 --set text.max_target=12 \
  --set training.steps=40 --set training.optimizer=adamw --set training.module_learning_rate=0.03

# Prompt tuning and model tuning by the size of the backbone.
for layers in 1 2 4; do
  [[ -e $folder/minilm-$layers/config.json ]] || .venv/bin/python bench/truncate.py $layers "$folder/minilm-$layers"
done
.venv/bin/multigraft compare bench/spot_sizes.yaml --output "$folder/sizes" \
  --backbone "$folder/minilm-1,$folder/minilm-2,$folder/minilm-4,minilm"

# Prompt tuning on the model of bench/flan.sh, which never saw these clusters, and on the backbone that it came from.
[[ -e $folder/tuned/model ]] || .venv/bin/multigraft train recipes/flan.yaml --output "$folder/tuned" \
  --set examples=1000 --set scored_examples=100 --set dev_examples=50 --set text.max_input=192 --set text.max_target=48 \
  --set training.steps=120 --set training.epochs=2 --set training.batch_size=32 --set training.score_every=2 \
  --set training.optimizer=adamw --set training.learning_rate=3.0e-4 --set training.module_learning_rate=2.0e-3 \
  --set training.decay=linear --set training.warmup=0.1
.venv/bin/multigraft compare bench/spot_instructions.yaml --output "$folder/instructions" \
  --set "rows.2.backbone.name=$folder/tuned/model" --set "rows.3.backbone.name=$folder/tuned/model"
for name in sizes instructions; do
  mkdir -p "bench/results/spot/$name"
  cp "$folder/$name/results.json" "bench/results/spot/$name/"
done
.venv/bin/python bench/spot.py
