"""hnswlib on the vectors of `cargo xtask bench ann`: recall, CPU microseconds a query, build and replace-insert times, memory.

    python3 -m venv target/peers/ann && target/peers/ann/bin/pip install numpy hnswlib
    PARSIMON_SHARED=... target/peers/ann/bin/python benches/compare/hnsw.py [rows]

Each line is one JSON record with the fields of the area `ann`. Times are process CPU times of one thread; Python's share of a search is
kept small by searching for all queries in one call.
"""

import json
import os
import resource
import sys
import time

import hnswlib
import numpy as np


def read(path, limit=None):
    head = np.fromfile(path, dtype=np.uint32, count=2)
    rows = np.memmap(path, dtype=np.uint8, mode="r", offset=8, shape=(int(head[0]), int(head[1])))
    return np.asarray(rows[:limit], dtype=np.float32)


def truth(base, queries, k=10):
    norms = (base * base).sum(1)
    best = []
    for q in queries:
        d = norms - 2.0 * (base @ q)
        near = np.argpartition(d, k)[:k]
        best.append(set(near[np.argsort(d[near])].tolist()))
    return best


def say(case, variant, unit, value, **params):
    record = {"area": "ann", "case": case, "variant": variant, "params": params, "isa": "native", "threads": 1,
              "metric": "time" if unit != "MB" else "size", "unit": unit, "median": value, "min": value, "max": value, "runs": 1,
              "limit": None, "pct_of_limit": None, "baseline": None, "ratio_to_baseline": None, "checked": True}
    print(json.dumps(record), flush=True)


def rss_mb():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 1e6


def main():
    shared = os.environ.get("PARSIMON_SHARED", os.path.join(os.path.dirname(__file__), "../../shared"))
    data = os.path.join(shared, "data/ann")
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    base = read(os.path.join(data, "photosift_200k.u8bin"), n)
    queries = read(os.path.join(data, "photosift_query_1k.u8bin"))
    best = truth(base, queries)
    before = rss_mb()
    index = hnswlib.Index(space="l2", dim=base.shape[1])
    index.init_index(max_elements=n, M=16, ef_construction=200, allow_replace_deleted=True, random_seed=1)
    index.set_num_threads(1)
    start = time.process_time()
    index.add_items(base, num_threads=1)
    say(f"static {n}", "hnswlib build", "s", time.process_time() - start)
    say(f"static {n}", "hnswlib memory", "MB", rss_mb() - before)
    for ef in (10, 16, 24, 32, 48, 64, 96, 128):
        index.set_ef(ef)
        found, best_us = None, float("inf")
        for _ in range(3):
            start = time.process_time()
            found, _ = index.knn_query(queries, k=10, num_threads=1)
            best_us = min(best_us, (time.process_time() - start) * 1e6 / len(queries))
        recall = np.mean([len(best[i] & set(row.tolist())) / 10 for i, row in enumerate(found)])
        say(f"static {n}", f"hnswlib ef {ef}", "us", best_us, recall_at_10=float(recall), ef=ef)
    some = min(2000, n // 10)
    for i in range(some):
        index.mark_deleted(i)
    start = time.process_time()
    index.add_items(base[:some], np.arange(n, n + some), num_threads=1, replace_deleted=True)
    say(f"insert {n}", "hnswlib replace insert", "us", (time.process_time() - start) * 1e6 / some)


main()
