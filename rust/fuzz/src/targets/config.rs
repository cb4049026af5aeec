//! Input: `.buquet.toml`, the environment (`NAME=VALUE` a line), and the caller's JSON, divided by lines of `---`.

use std::fs;

use buquet_core::config::{EngineConfig, Target};
use tempfile::TempDir;

use super::{parts, resolved};

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a folder");
}

/// Whatever lies about, the engine finds a store or says what is wrong, and repeats no key of an account.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let [file, environment, config] = parts(&text);
    let config: EngineConfig = serde_json::from_str(config).unwrap_or_default();
    let env = |wanted: &str| {
        let found = environment.lines().filter_map(|line| line.split_once('=')).find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.to_owned())
    };
    FOLDER.with(|folder| {
        let found = |file: &str| {
            // Not written over: some file systems then wait for the disk.
            let path = folder.path().join(".buquet.toml");
            drop(fs::remove_file(&path));
            fs::write(path, file).expect("the file is written");
            resolved(&config, &env, folder.path())
        };
        if let Ok(found) = found(file) {
            check(&found.target);
        }
        // The same with a secret where it does not belong.
        if let Err(message) = found(&format!("{file}\n[account]\nsecret_access_key = \"{SECRET}\"\n")) {
            assert!(!message.contains(SECRET), "a secret of the file is repeated: {message}");
        }
    });
}

const SECRET: &str = "hunter2hunter2";

fn check(target: &Target) {
    match target {
        Target::S3 { bucket, prefix, .. } => {
            assert!((3..=63).contains(&bucket.len()));
            assert!(!prefix.starts_with('/') && !prefix.ends_with('/') && !prefix.contains("//"));
        }
        Target::Sqlite { path } => assert!(path.is_absolute() && path.file_name().is_some(), "{}", path.display()),
        Target::Memory => {}
    }
}
