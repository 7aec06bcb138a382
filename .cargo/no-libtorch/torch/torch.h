// Found only where the real header is not: the last place that the compiler looks, set in `.cargo/config.toml`.
#error LibTorch is not in .libtorch/ yet: run "make setup" (or python3 scripts/setup_libtorch.py), then build again
