"""faiss k-means on points like those of `cargo xtask bench vq --filter kmeans`: seconds a round, and the inertia that is reached.

    python3 -m venv target/peers/vq && target/peers/vq/bin/pip install numpy faiss-cpu
    target/peers/vq/bin/python benches/compare/kmeans.py

262,144 points of independent normal numbers, 256 centroids, 20 rounds. A round is the time of 21 rounds less that of one, over 20; wall
time, and processor time of all threads, the median of five. Each line is one JSON record with the fields of the area `vq`.
"""

import json
import statistics
import time

import faiss
import numpy as np

POINTS, CENTROIDS, ROUNDS, RUNS = 262_144, 256, 20, 5


def seconds(x, rounds):
    kmeans = faiss.Kmeans(x.shape[1], CENTROIDS, niter=rounds, seed=6, max_points_per_centroid=POINTS, nredo=1)
    wall, cpu = time.perf_counter(), time.process_time()
    kmeans.train(x)
    return time.perf_counter() - wall, time.process_time() - cpu, kmeans


def main():
    for width in (4, 8):
        x = np.random.default_rng(5).standard_normal((POINTS, width), dtype=np.float32)
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            rounds = []
            for _ in range(RUNS):
                long, short = seconds(x, ROUNDS + 1), seconds(x, 1)
                rounds.append([(a - b) / ROUNDS * 1e6 for a, b in zip(long[:2], short[:2])])
            inertia = float(long[2].index.search(x, 1)[0].astype(np.float64).sum())
            wall, cpu = (statistics.median(run[i] for run in rounds) for i in (0, 1))
            times = sorted(run[0] for run in rounds)
            record = {"area": "vq", "case": f"kmeans n={POINTS} v={width} K={CENTROIDS}", "variant": f"faiss {faiss.__version__}",
                      "params": {"inertia": inertia, "cpu_us": cpu}, "isa": "native", "threads": threads, "metric": "time",
                      "unit": "us", "median": wall, "min": times[0], "max": times[-1], "runs": RUNS, "limit": None,
                      "pct_of_limit": None, "baseline": None, "ratio_to_baseline": None, "checked": True}
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
