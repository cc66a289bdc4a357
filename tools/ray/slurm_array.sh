#!/bin/sh
# One stage of a curation plan as a Slurm array; submit the stages one after the other:
#   parsimon curate plan --preset technical --input 'warc/*.warc.gz' --out corpus
#   first=$(sbatch --parsable --array=0-63 tools/ray/slurm_array.sh corpus extract)
#   sbatch --dependency=afterok:$first --array=0-63 tools/ray/slurm_array.sh corpus documents
#SBATCH --cpus-per-task=1
set -eu
exec parsimon curate run-shard --out "$1" --stage "$2" --rank "$SLURM_ARRAY_TASK_ID" --world "$SLURM_ARRAY_TASK_COUNT"
