"""The parts of benchmarks/paper.py, which reproduces Zhang et al., ASIACCS 2018."""
