#!/usr/bin/env bash
# All benchmarks, about half an hour on two idle cores; the environments of the peers are made on the first run.
#   bench/run_all.sh [--seconds N] [--dry]
set -euo pipefail
cd "$(dirname "$0")/.."
unset OMP_NUM_THREADS
for name in train_step lora_peft experts_peft peft_checkpoints mixed_forward many_tasks adapters_library lm_eval_ranking text_step soft_prompt_peft \
            similarity routing merging_peft merging_mergekit serving compare_parts; do
  .venv/bin/python "bench/$name.py" "$@"
done
if [[ -n ${MULTIGRAFT_DATA:-} ]]; then
  .venv/bin/python bench/padding.py
  .venv/bin/python bench/packing.py "$@"
fi
.venv/bin/python bench/summary.py
