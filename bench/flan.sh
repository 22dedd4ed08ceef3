#!/usr/bin/env bash
# The study of docs/results_instructions.md: most rows of recipes/flan.yaml with the embedded backbone, at a size for
# two cores.
#   bench/flan.sh DATA [FOLDER]    DATA: what $MULTIGRAFT_DATA stands for; FOLDER: where the runs are kept
# A run that was stopped goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
export MULTIGRAFT_DATA=$1 OMP_NUM_THREADS=2
folder=${2:-runs/flan}
.venv/bin/multigraft compare recipes/flan.yaml --output "$folder" \
  --set examples=1000 --set scored_examples=100 --set dev_examples=50 --set text.max_input=192 --set text.max_target=48 \
  --set training.steps=120 --set training.epochs=2 --set training.batch_size=32 --set training.score_every=2 \
  --set training.optimizer=adamw --set training.learning_rate=3.0e-4 --set training.module_learning_rate=2.0e-3 \
  --set training.decay=linear --set training.warmup=0.1 --set 'seeds=[0]' \
  --set 'rows=[
    {}, {method: lora, backbone: {tuned: false}},
    {train_clusters: [sentiment]}, {train_clusters: [sentiment, multiple_choice_qa]},
    {train_clusters: [sentiment, multiple_choice_qa, summarization, affect]},
    {train_clusters: [sentiment, multiple_choice_qa, summarization, affect, topic, acceptability, free_form_qa, dialogue]},
    {templates: no template}, {templates: task name}, {templates: task name, score_templates: task name},
    {options: false}, {templates: 1}, {templates: 4}, {shots: 4}]'
mkdir -p bench/results/flan
cp "$folder/results.json" "$folder/report.html" bench/results/flan/
.venv/bin/python bench/flan.py bench/results/flan/results.json
