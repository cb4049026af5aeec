//! Runs one hot path a number of times and does nothing else, for callgrind to count: `nox -s instructions`.
//!
//! `instructions CASE TIMES`; without arguments it prints the cases' names.

mod cases;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo passes `--bench` along; it means nothing here.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [name, times] = arguments.as_slice() else {
        for case in cases::cases() {
            println!("{}", case.name);
        }
        return ExitCode::SUCCESS;
    };
    let found = cases::cases().into_iter().find(|case| case.name == name);
    let (Some(mut case), Ok(times)) = (found, times.parse::<u32>()) else {
        eprintln!("there is no case {name:?}, or {times:?} is no number");
        return ExitCode::FAILURE;
    };
    for _ in 0..times {
        (case.run)();
    }
    ExitCode::SUCCESS
}
