//! The targets. Each says in its first line what its input is.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a target says that it found something"
)]

pub mod config;
pub mod key;
pub mod record;
pub mod request;
pub mod url;

use std::path::Path;

use buquet_core::Error;
use buquet_core::config::{EngineConfig, Resolved, resolve};

/// The parts of an input that are divided by lines of three hyphens.
fn parts<const N: usize>(text: &str) -> [&str; N] {
    let mut parts = text.split("\n---\n");
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Resolves a configuration; a refusal must be one that tells the user what is wrong.
fn resolved(config: &EngineConfig, env: &dyn Fn(&str) -> Option<String>, cwd: &Path) -> Result<Resolved, String> {
    match resolve(config, env, cwd) {
        Ok(resolved) => {
            assert!(!resolved.source.is_empty(), "a store that nobody named: {resolved:?}");
            Ok(resolved)
        }
        Err(Error::Config(message)) => {
            assert!(!message.is_empty(), "a refusal without a word");
            Err(message)
        }
        Err(other) => panic!("a configuration is refused with {}: {other}", other.code()),
    }
}
