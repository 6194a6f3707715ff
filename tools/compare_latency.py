r"""Compares a budget of milliseconds with one of multiply-adds.

  autox3d-compare-latency --gin_file=gin/search/compare_latency_egogestar.gin \
    --gin=DATA=egogestar/manifest.csv --gin=LATENCY_TABLE=table.json \
    --run_dir=runs/latency --gin=RESULTS=docs/results/latency

Per seed and fold a search within multiply-adds finds a network, and a second
search may take the milliseconds that this network is predicted to take. Both
are trained from scratch and tested; the table shows the mean difference. The
same command, started again, goes on where it stopped.
"""

from autox3d_tf.runs import gin_app


def main():
    gin_app.main("autox3d_tf.studies.compare_latency:compare_latency")


if __name__ == "__main__":
    main()
