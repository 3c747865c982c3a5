#!/bin/sh
# sbatch --array=0-9 score.sh PHOTOS PROFILE OUT
#SBATCH --cpus-per-task=2
#SBATCH --mem=2G
set -eu
# --shard takes the number of this part from SLURM_ARRAY_TASK_ID.
part="$3/part-$SLURM_ARRAY_TASK_ID.jsonl"
mkdir -p "$3"
# Exit code 1: some photos could not be read. The others are scored.
blemish score "$1" --profile "$2" --shard "$SLURM_ARRAY_TASK_COUNT" --quiet > "$part.new" || [ $? = 1 ]
# A part is there whole or not at all.
mv "$part.new" "$part"
