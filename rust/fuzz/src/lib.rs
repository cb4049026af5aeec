//! Fuzz targets: plain functions that take any bytes and panic if the engine breaks a promise.
//!
//! The tests of this crate replay the corpus and some thousand mutations of it. `nox -s fuzz -- TARGET SECONDS` lets
//! libFuzzer search for as long as one likes, guided by coverage.
#![forbid(unsafe_code)]

pub mod targets;

/// A function that panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 5] = [
    ("config", targets::config::run),
    ("key", targets::key::run),
    ("record", targets::record::run),
    ("request", targets::request::run),
    ("url", targets::url::run),
];

/// The target with this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
