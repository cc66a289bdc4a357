"""Drives a curation plan on a Ray cluster: one task a shard, one barrier a stage.

    parsimon curate plan --preset technical --input 'warc/*.warc.gz' --out corpus
    python tools/ray/parsimon_ray.py --out corpus --parsimon ./parsimon
    parsimon curate run --preset technical --input 'warc/*.warc.gz' --out corpus     # tokenizer, statistics

The folder and the inputs must be visible to every node under the same path. A task is a pure function that publishes its result under its name
when it is whole, so a node that dies costs its running tasks and nothing else, and a second start does what is left. Without Ray (--local N) the
same tasks run in N processes of this machine.
"""

import argparse
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

STAGES = ("extract", "documents")


def run_shard(parsimon, out, stage, shard):
    """Does one task; its report as parsimon prints it."""
    command = [parsimon, "curate", "run-shard", "--json", "--out", out, "--stage", stage, "--shard", str(shard)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{stage} {shard}: status {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout)[0]


def on_ray(args, stage, shards):
    """Keeps at most `window` tasks in flight, and yields reports as they come."""
    import ray

    task = ray.remote(max_retries=5, num_cpus=1, retry_exceptions=False)(run_shard)
    waiting, running = list(shards), []
    while waiting or running:
        while waiting and len(running) < args.window:
            running.append(task.remote(args.parsimon, args.out, stage, waiting.pop(0)))
        finished, running = ray.wait(running, num_returns=1)
        yield from ray.get(finished)


def on_this_machine(args, stage, shards):
    with ThreadPoolExecutor(args.local) as pool:
        yield from pool.map(lambda shard: run_shard(args.parsimon, args.out, stage, shard), shards)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="the folder of the plan")
    parser.add_argument("--parsimon", default="parsimon", help="the program, on every node")
    parser.add_argument("--address", default="auto", help="the cluster, as ray.init takes it")
    parser.add_argument("--window", type=int, default=256, help="tasks in flight")
    parser.add_argument("--local", type=int, default=0, help="processes of this machine instead of Ray")
    args = parser.parse_args()
    shards = len(json.loads((Path(args.out) / "plan.json").read_text())["shards"])
    if not args.local:
        import ray

        ray.init(address=args.address)
    run = on_this_machine if args.local else on_ray
    for stage in STAGES:
        done = skipped = rows = 0
        for report in run(args, stage, range(shards)):
            skipped += report["was_done"]
            done += 1
            rows += report["rows"]
            print(f"{stage}: {done} of {shards}, {skipped} done before, {rows} rows", flush=True)


if __name__ == "__main__":
    main()
