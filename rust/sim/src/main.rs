//! Runs seeds of the simulation, and replays one.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use buquet_core::broken::Variant;
use buquet_sim::fleet::Protocol;
use buquet_sim::run::{Options, Report, simulate_scenario};
use buquet_sim::scenario::Scenario;
use clap::{Parser, ValueEnum};

/// Simulates fleets of producers and workers over a faulty store, one run a seed, and checks each run's whole history.
#[derive(Debug, Parser)]
#[command(name = "buquet-sim")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
struct Arguments {
    /// The seeds to run: FROM..TO, without TO, or one number
    #[arg(long, value_parser = seeds, default_value = "0..1000")]
    seeds: Range<u64>,
    /// How many runs at the same time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// Print every request and event
    #[arg(long)]
    trace: bool,
    /// Run a deliberately broken protocol
    #[arg(long, value_enum, default_value_t = Broken::None)]
    variant: Broken,
    /// Run the mix of everything, ten workers and so many tasks, instead of what each seed draws
    #[arg(long, value_name = "TASKS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    mix: Option<u64>,
    /// Run many tasks that park and are woken, instead of what each seed draws
    #[arg(long)]
    waiting: bool,
    /// Run many tasks that wait for each other, instead of what each seed draws
    #[arg(long)]
    links: bool,
    /// Run a fleet of twenty workers and so many records that come at once, instead of what each seed draws
    #[arg(long, value_name = "RECORDS", conflicts_with = "mix", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    fleet: Option<u64>,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
    /// Of a failed run print only what was wrong, not the tail of its trace
    #[arg(long)]
    brief: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Broken {
    None,
    ReusedReadyKey,
    IndexAfterCommit,
    FailedAfterCommit,
    UnsealedPurge,
    NoReadBack,
    UnfencedCompletion,
    PayloadAfterCommit,
    LocalClockExpiry,
    ForgottenSlots,
    ForgottenKeys,
    UnbarredWindows,
    UnstoredWishes,
    LateClaims,
    UnfencedProgress,
    DeafPark,
    ClearedDebts,
    DroppedHooks,
    SilentPurge,
}

impl Arguments {
    fn scenario(&self, seed: u64) -> Scenario {
        let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        if self.waiting {
            return Scenario::waiting(seed);
        }
        if self.links {
            return Scenario::links(seed);
        }
        match (self.mix, self.fleet) {
            (Some(tasks), _) => Scenario::mix(seed, size(tasks)),
            (None, Some(records)) => Scenario::fleet(seed, size(records)),
            (None, None) => Scenario::draw(seed),
        }
    }
}

impl Broken {
    const fn protocol(self) -> Protocol {
        match self {
            Self::None => Protocol::Uniform(Variant::True),
            Self::ReusedReadyKey => Protocol::Uniform(Variant::ReusedReadyKey),
            Self::IndexAfterCommit => Protocol::Uniform(Variant::IndexAfterCommit),
            Self::FailedAfterCommit => Protocol::Uniform(Variant::FailedAfterCommit),
            Self::UnsealedPurge => Protocol::Uniform(Variant::UnsealedPurge),
            Self::NoReadBack => Protocol::Uniform(Variant::NoReadBack),
            Self::UnfencedCompletion => Protocol::Uniform(Variant::UnfencedCompletion),
            Self::PayloadAfterCommit => Protocol::Uniform(Variant::PayloadAfterCommit),
            Self::LocalClockExpiry => Protocol::LocalClock,
            Self::ForgottenSlots => Protocol::Uniform(Variant::ForgottenSlots),
            Self::ForgottenKeys => Protocol::Uniform(Variant::ForgottenKeys),
            Self::UnbarredWindows => Protocol::Uniform(Variant::UnbarredWindows),
            Self::UnstoredWishes => Protocol::Uniform(Variant::UnstoredWishes),
            Self::LateClaims => Protocol::Uniform(Variant::LateClaims),
            Self::UnfencedProgress => Protocol::Uniform(Variant::UnfencedProgress),
            Self::DeafPark => Protocol::Uniform(Variant::DeafPark),
            Self::ClearedDebts => Protocol::Uniform(Variant::ClearedDebts),
            Self::DroppedHooks => Protocol::Uniform(Variant::DroppedHooks),
            Self::SilentPurge => Protocol::Uniform(Variant::SilentPurge),
        }
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number; give FROM..TO"));
    match text.split_once("..") {
        Some((from, to)) if number(from)? < number(to)? => Ok(number(from)?..number(to)?),
        Some(_) => Err(format!("{text} has no seeds: TO must be more than FROM")),
        None => number(text).map(|seed| seed..seed + 1),
    }
}

/// What all runs came to.
#[derive(Debug, Default)]
struct Totals {
    runs: u64,
    failed: Vec<u64>,
    requests: u64,
    tasks: usize,
    simulated: Duration,
    faults: BTreeMap<&'static str, u64>,
    events: BTreeMap<&'static str, u64>,
    happened: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.requests += report.tally.requests;
        self.tasks += report.tasks;
        self.simulated += report.simulated;
        for (totals, counts) in [
            (&mut self.faults, &report.faults),
            (&mut self.events, &report.events),
            (&mut self.happened, &report.happened),
        ] {
            for (kind, count) in counts {
                *totals.entry(kind).or_default() += count;
            }
        }
        if !report.violations.is_empty() {
            self.failed.push(report.seed);
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = tokio::time::Instant::now();
    let (next, stop) = (AtomicU64::new(arguments.seeds.start), AtomicBool::new(false));
    let totals = Mutex::new(Totals::default());
    let options = Options { protocol: arguments.variant.protocol(), trace: arguments.trace };
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= arguments.seeds.end || stop.load(Ordering::Relaxed) {
                return;
            }
            let scenario = arguments.scenario(seed);
            match simulate_scenario(scenario, options) {
                Ok(report) => {
                    let Ok(mut totals) = totals.lock() else { return };
                    totals.add(&report);
                    let printed = print_run(&arguments, &report);
                    if printed.is_err() || (!report.violations.is_empty() && !arguments.keep_going) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                Err(error) => {
                    let _ = writeln!(std::io::stderr(), "seed {seed} could not be run: {error}");
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(work);
        }
    });
    let Ok(totals) = totals.into_inner() else { return ExitCode::from(2) };
    let complete = totals.runs == arguments.seeds.end - arguments.seeds.start;
    let printed = print_totals(&totals, started.elapsed());
    if complete && totals.failed.is_empty() && printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints what is worth knowing of one run: nothing if it was clean and no trace was asked for.
fn print_run(arguments: &Arguments, report: &Report) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let failed = !report.violations.is_empty();
    if arguments.trace || (failed && !arguments.brief) {
        if !arguments.trace {
            writeln!(out, "... the last {} lines of the trace of seed {}:", report.lines.len(), report.seed)?;
        }
        for line in &report.lines {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "seed {}: trace {:016x}", report.seed, report.fingerprint)?;
    }
    if failed {
        writeln!(out, "seed {} FAILED:", report.seed)?;
        for violation in &report.violations {
            writeln!(out, "  {violation}")?;
        }
        let variant = arguments.variant.to_possible_value().map(|value| value.get_name().to_owned());
        let variant = variant.filter(|_| arguments.variant != Broken::None).map(|name| format!(" --variant {name}"));
        let mix = arguments.mix.map(|tasks| format!(" --mix {tasks}"));
        let fleet = arguments.fleet.map(|records| format!(" --fleet {records}"));
        writeln!(
            out,
            "replay it: cargo run --release -p buquet-sim -- --seeds {} --trace{}{}{}{}{}",
            report.seed,
            variant.unwrap_or_default(),
            mix.unwrap_or_default(),
            fleet.unwrap_or_default(),
            if arguments.waiting { " --waiting" } else { "" },
            if arguments.links { " --links" } else { "" }
        )?;
    }
    Ok(())
}

fn print_totals(totals: &Totals, took: Duration) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let per_second = f64::from(u32::try_from(totals.runs).unwrap_or(u32::MAX)) / took.as_secs_f64();
    let list = |counts: &BTreeMap<&str, u64>| {
        counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
    };
    writeln!(
        out,
        "{} seeds, {} failed, in {:.1} s ({per_second:.1} a second); simulated {:.1} hours, {} tasks, {} requests",
        totals.runs,
        totals.failed.len(),
        took.as_secs_f64(),
        totals.simulated.as_secs_f64() / 3600.0,
        totals.tasks,
        totals.requests
    )?;
    writeln!(out, "faults: {}", list(&totals.faults))?;
    writeln!(out, "processes: {}", list(&totals.events))?;
    writeln!(out, "store: {}", list(&totals.happened))?;
    if !totals.failed.is_empty() {
        writeln!(out, "failed seeds: {:?}", totals.failed)?;
    }
    Ok(())
}
