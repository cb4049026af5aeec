//! C programs that use the library as a stranger would: compiled with every warning an error, linked, run.
#![expect(clippy::expect_used, reason = "a test ends at the first surprise")]

mod common;

use std::path::Path;

use common::{crate_dir, linked, program, run, strict};

/// Compiles `tests/c/NAME.c` and runs it in an empty folder with these arguments.
fn runs(name: &str, arguments: &[&str]) {
    compile_and_run(&crate_dir().join(format!("tests/c/{name}.c")), arguments);
}

fn compile_and_run(source: &Path, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("program");
    let mut compiler = strict("cc", "c99");
    compiler.args(["-g", "-D_POSIX_C_SOURCE=200809L", "-pthread"]).arg(source).arg("-o").arg(&path);
    run(linked(&mut compiler));
    run(program(&path).args(arguments).current_dir(folder.path()))
}

#[test]
fn the_main_job_runs_from_c_in_memory() {
    runs("smoke", &["memory:"]);
}

#[test]
fn the_main_job_runs_from_c_on_sqlite() {
    runs("smoke", &["sqlite:queue.db"]);
}

#[test]
fn mistakes_are_answered_with_clear_errors() {
    runs("errors", &[]);
}

#[test]
fn a_child_is_refused_its_parents_handles_and_opens_its_own() {
    runs("fork", &[]);
}

#[test]
fn children_of_a_busy_program_work_on_its_sqlite_file() {
    runs("fork_sqlite", &[]);
}

#[test]
fn a_thousand_opens_and_closes_leave_no_thread_and_no_descriptor() {
    runs("leaks", &[]);
}

#[test]
fn the_manuals_program_submits_a_task() {
    let manual = std::fs::read_to_string(crate_dir().join("../../docs/abi.md")).expect("the manual");
    let (_, after) = manual.split_once("```c\n").expect("a program in the manual");
    let (text, _) = after.split_once("```").expect("its end");
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("manual.c");
    std::fs::write(&source, text).expect("the program is written");
    let printed = compile_and_run(&source, &[]);
    assert!(printed.starts_with("[{\"token\":7,\"ok\":{\"id\":\""), "{printed}");
}
