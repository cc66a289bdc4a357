"""hnswlib on the vectors of `cargo xtask bench ann`: recall, CPU microseconds a query, build and replace-insert times, memory.

    python3 -m venv target/peers/ann && target/peers/ann/bin/pip install numpy hnswlib
    PARSIMON_SHARED=... target/peers/ann/bin/python benches/compare/hnsw.py [rows]
    PARSIMON_SHARED=... target/peers/ann/bin/python benches/compare/hnsw.py days 100 > days.jsonl   # for `repro spfresh --peers`

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


def quality(index, base_ids, base, queries, ef):
    index.set_ef(ef)
    rows = np.fromiter(base_ids, dtype=np.int64)
    best = truth(base[rows], queries)
    start = time.process_time()
    found, _ = index.knn_query(queries, k=10, num_threads=1)
    us = (time.process_time() - start) * 1e6 / len(queries)
    recall = np.mean([len({int(rows[j]) for j in best[i]} & set(row.tolist())) / 10 for i, row in enumerate(found)])
    return float(recall), us


def days(data, count, start=50_000, per_day=500, ef=40):
    """The two streams of `repro spfresh`: so many go, as many come, each day; a line of records a stream."""
    queries = read(os.path.join(data, "photosift_query_1k.u8bin"))
    for stream, name in (("churn", "photosift_200k.u8bin"), ("shift", "photosift_shift_100k.u8bin")):
        base = read(os.path.join(data, name), 100_000)
        index = hnswlib.Index(space="l2", dim=base.shape[1])
        index.init_index(max_elements=start + 1, M=16, ef_construction=200, allow_replace_deleted=True, random_seed=1)
        index.set_num_threads(1)
        index.add_items(base[:start], np.arange(start), num_threads=1)
        live, rng = list(range(start)), np.random.default_rng(11)

        def tell(day, kind, index, insert_us):
            recall, us = quality(index, live, base, queries, ef)
            print(json.dumps({"stream": stream, "day": day, "kind": kind, "recall": recall, "us": us, "insert_us": insert_us}),
                  flush=True)

        tell(0, "day", index, None)
        spent, inserted = 0.0, 0
        for day in range(count):
            for _ in range(per_day):
                at = int(rng.integers(len(live))) if stream == "churn" else 0
                index.mark_deleted(live[at])
                if stream == "churn":
                    live[at] = live[-1]
                    live.pop()
                else:
                    live.pop(0)
            new = np.arange(start + day * per_day, start + (day + 1) * per_day)
            begin = time.process_time()
            index.add_items(base[new], new, num_threads=1, replace_deleted=True)
            spent += time.process_time() - begin
            inserted += per_day
            live.extend(new.tolist())
            if (day + 1) % max(count // 10, 1) == 0:
                tell(day + 1, "day", index, spent * 1e6 / inserted)
        fresh = hnswlib.Index(space="l2", dim=base.shape[1])
        fresh.init_index(max_elements=start, M=16, ef_construction=200, random_seed=1)
        fresh.add_items(base[live], live, num_threads=1)
        tell(count, "fresh", fresh, None)


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "days":
        shared = os.environ.get("PARSIMON_SHARED", os.path.join(os.path.dirname(__file__), "../../shared"))
        days(os.path.join(shared, "data/ann"), int(sys.argv[2]) if len(sys.argv) > 2 else 100)
        return
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
