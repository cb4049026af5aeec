//! Same seed, same trace.

use std::process::Command;

use buquet_sim::run::{Options, simulate};

#[test]
fn a_seed_has_one_trace() {
    for seed in [0, 1, 5, 10] {
        let options = Options { trace: true, ..Options::default() };
        let (one, two) = (simulate(seed, options).unwrap(), simulate(seed, options).unwrap());
        let differs = one.lines.iter().zip(&two.lines).position(|(one, two)| one != two);
        assert_eq!(differs, None, "seed {seed}: the traces part at this line");
        assert_eq!((one.lines.len(), one.fingerprint), (two.lines.len(), two.fingerprint));
        assert!(one.lines.len() > 500, "seed {seed} does something: {} lines", one.lines.len());
    }
}

#[test]
fn seeds_differ() {
    let options = Options::default();
    assert_ne!(simulate(0, options).unwrap().fingerprint, simulate(1, options).unwrap().fingerprint);
}

#[test]
fn a_seed_has_one_trace_in_every_process() {
    let trace = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_buquet-sim"));
        let output = command.args(["--seeds", "3", "--trace"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // The totals after it say how long the run took.
        text.split_once("seed 3: trace ").map(|(lines, rest)| (lines.to_owned(), rest[..16].to_owned())).unwrap()
    };
    assert_eq!(trace(), trace());
}
