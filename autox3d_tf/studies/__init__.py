"""Studies: how good the search, its supernet and its weights are.

Each makes many searches or trainings, over seeds and budgets, and leaves a
small file per run, from which its tables are made.

    compare.py          the search against its baselines at equal cost
    compare_latency.py  a budget of milliseconds against multiply-adds
    rank.py             the supernet's ranking against training alone
    transfer.py         what a start helps when clips are few

They share plan.py (which runs there are), trial.py (one search, one training),
equal_cost.py, stopwatch.py, statistics.py, tables.py and page.py.
"""
