"""Times other programs on the work of experiments/throughput.py; nothing imports these scripts."""
