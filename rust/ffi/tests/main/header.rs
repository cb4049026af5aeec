//! The committed header: it is what the crate exports, it compiles everywhere, and its manual is complete.

use std::collections::BTreeSet;
use std::fs;
#[cfg(target_os = "linux")]
use std::process::Command;

use crate::common::{crate_dir, include_dir, linked, program, run, strict};
#[cfg(target_os = "linux")]
use crate::common::{library_dir, library_in};

fn generated() -> String {
    let config = cbindgen::Config::from_file(crate_dir().join("cbindgen.toml")).unwrap();
    let sources = ["version", "status", "error", "buffer", "engine", "queue"];
    let builder = sources.into_iter().fold(cbindgen::Builder::new().with_config(config), |builder, source| {
        builder.with_src(crate_dir().join(format!("src/abi/{source}.rs")))
    });
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    String::from_utf8(header).unwrap()
}

fn committed() -> String {
    fs::read_to_string(include_dir().join("buquet.h")).unwrap_or_default()
}

/// The names in a text that start with `prefix`.
fn names(text: &str, prefix: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = committed();
    let code = header.lines().map(str::trim_start).filter(|line| !line.starts_with(['*', '/', '#']));
    code.filter_map(|line| line.split_once('('))
        .flat_map(|(before, _)| names(before.rsplit([' ', '*']).next().unwrap_or(""), "bq_"))
        .collect()
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let path = include_dir().join("buquet.h");
    if std::env::var_os("BUQUET_WRITE_HEADER").is_some() {
        fs::write(&path, generated()).unwrap();
    }
    assert!(
        committed() == generated(),
        "include/buquet.h is not what rust/ffi exports; write it anew with: BUQUET_WRITE_HEADER=1 cargo test -p \
         buquet-ffi header"
    );
}

/// Compiles, links and runs a program that checks the version as every program should.
fn works(compiler: &str, standard: &str, extension: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join(format!("version.{extension}")), folder.path().join("version"));
    let text = "#include \"buquet.h\"\nint main(void) { return bq_abi_version() != BQ_ABI_VERSION; }\n";
    fs::write(&source, text).unwrap();
    run(linked(strict(compiler, standard).arg(&source).arg("-o").arg(&path)));
    run(&mut program(&path));
}

#[test]
fn the_header_is_c99_without_warnings() {
    works("cc", "c99", "c");
}

#[test]
fn the_header_is_cpp17_without_warnings() {
    works("c++", "c++17", "cc");
}

/// Whatever else were exported, of SQLite for instance, could clash with the host's own.
#[cfg(target_os = "linux")]
#[test]
fn the_library_exports_the_declared_functions_and_nothing_else() {
    let library = library_in(&library_dir());
    let symbols = run(Command::new("nm").args(["-D", "--defined-only", "-P"]).arg(library));
    let exported: BTreeSet<_> = symbols.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert_eq!(exported, declared());
    assert!(exported.contains("bq_submit"));
}

#[test]
fn the_manual_names_every_function_and_every_status() {
    let manual = fs::read_to_string(crate_dir().join("../../docs/abi.md")).unwrap();
    let (functions, statuses) = (declared(), names(&committed(), "BQ_"));
    let known: BTreeSet<_> = functions.union(&statuses).cloned().collect();
    let named: BTreeSet<_> = names(&manual, "bq_").union(&names(&manual, "BQ_")).cloned().collect();
    let missing: Vec<_> = known.difference(&named).collect();
    assert!(missing.is_empty(), "docs/abi.md says nothing of {missing:?}");
    let types = ["bq_engine", "bq_queue", "bq_buffer", "bq_error"].map(str::to_owned);
    let made_up: Vec<_> = named.difference(&known).filter(|name| !types.contains(name)).collect();
    assert!(made_up.is_empty(), "docs/abi.md speaks of {made_up:?}, which the header does not have");
}
