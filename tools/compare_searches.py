r"""Compares the search with its baselines at equal cost, over several seeds.

  autox3d-compare-searches --gin_file=gin/search/compare_egogestar.gin \
    --gin=DATA=egogestar/manifest.csv --run_dir=runs/comparison \
    --gin=RESULTS=docs/results/egogestar

Random search, regularised evolution on a uniform-path supernet and PARSEC with
a fixed number of samples process as many clips as the search did; an X3D is
scaled by hand to each budget. Every network is trained from scratch and tested
on clips that no search has seen. Each run leaves a small JSON file in RESULTS.
Prints accuracy per method and budget and differences paired by seed, with 95 %
intervals; autox3d-results makes a page of it, with a plot.

With NETWORKS_FROM, the RESULTS of an earlier comparison, its networks are
trained anew, with another recipe or TRAININGS times, and nothing is searched.

The same command, started again, goes on where it stopped; started twice at the
same time, both share the work.
"""

from autox3d_tf.runs import gin_app


def main():
    gin_app.main("autox3d_tf.studies.compare:compare_searches")


if __name__ == "__main__":
    main()
