r"""Compares the search with its baselines at equal cost, over several seeds.

  autox3d-compare-searches --gin_file=gin/search/compare_egogestar.gin \
    --gin=DATA=egogestar/manifest.csv --run_dir=runs/comparison

Random search, regularised evolution on a uniform-path supernet and PARSEC with
a fixed number of samples process as many clips as the search did. Writes
baselines.json, which autox3d-report --baselines draws, and prints the table.
"""

from autox3d_tf.runs import gin_app


def main():
    """Console script."""
    gin_app.main("autox3d_tf.search.compare:compare_searches")


if __name__ == "__main__":
    main()
