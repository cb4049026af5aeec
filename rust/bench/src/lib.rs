//! Holds the benchmarks in `benches`; there is nothing to use here.
