//! C programs that use the library as a stranger would: compiled with every warning an error, linked, run.

use std::path::Path;

use crate::common::{crate_dir, linked, program, run, strict};

/// With it the C side's memory, and the library's by way of `malloc`, is watched: `cc` has to know `-fsanitize=address`.
const SANITIZER: &str = "-fsanitize=address";

/// Compiles `tests/c/NAME.c` and runs it in an empty folder with these arguments.
fn runs(name: &str, arguments: &[&str]) {
    compile_and_run(&crate_dir().join(format!("tests/c/{name}.c")), arguments, &[]);
}

/// The same under the sanitizers of addresses and leaks: what is freed twice, used after its end or never freed fails it.
fn runs_watched(name: &str, arguments: &[&str]) {
    if std::env::var("BUQUET_TEST_ASAN").is_ok_and(|value| value == "none") {
        println!("not run: BUQUET_TEST_ASAN=none");
        return;
    }
    let source = crate_dir().join(format!("tests/c/{name}.c"));
    compile_and_run(&source, arguments, &[SANITIZER, "-fno-omit-frame-pointer"]);
}

fn compile_and_run(source: &Path, arguments: &[&str], flags: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("program");
    let mut compiler = strict("cc", "c99");
    compiler.args(["-g", "-D_POSIX_C_SOURCE=200809L", "-pthread"]).args(flags).arg(source).arg("-o").arg(&path);
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
fn no_request_breaks_the_engine_or_goes_unanswered() {
    runs("hostile_requests", &[]);
}

#[test]
fn no_handle_breaks_the_library_whoever_closed_it() {
    runs("hostile_handles", &[]);
}

#[test]
fn sixty_four_threads_share_a_queue_in_memory() {
    runs("crowd", &["memory:", "200"]);
}

#[test]
fn sixty_four_threads_share_a_queue_on_sqlite() {
    runs("crowd", &["sqlite:queue.db", "50"]);
}

#[test]
fn the_main_job_breaks_no_memory_and_leaks_none() {
    runs_watched("smoke", &["memory:"]);
    runs_watched("smoke", &["sqlite:queue.db"]);
}

#[test]
fn mistakes_break_no_memory_and_leak_none() {
    runs_watched("errors", &[]);
}

#[test]
fn hostile_requests_break_no_memory_and_leak_none() {
    runs_watched("hostile_requests", &[]);
}

#[test]
fn hostile_handles_break_no_memory_and_leak_none() {
    runs_watched("hostile_handles", &[]);
}

#[test]
fn a_crowd_breaks_no_memory_and_leaks_none() {
    runs_watched("crowd", &["memory:", "40"]);
}

/// Without this the tests above would also pass where nothing is watched.
#[test]
fn the_watch_notices_a_leak_and_a_use_after_free_through_the_library() {
    for (mistake, words) in [("leak", "LeakSanitizer"), ("after-free", "heap-use-after-free")] {
        let noticed = std::panic::catch_unwind(|| runs_watched("mistakes", &[mistake]));
        if std::env::var("BUQUET_TEST_ASAN").is_ok_and(|value| value == "none") {
            return;
        }
        let report = noticed.expect_err("it is noticed");
        let report = report.downcast_ref::<String>().map_or("", String::as_str);
        assert!(report.contains(words), "{mistake}: {report}");
    }
}

#[test]
fn the_manuals_program_submits_a_task() {
    let manual = std::fs::read_to_string(crate_dir().join("../../docs/abi.md")).expect("the manual");
    let (_, after) = manual.split_once("```c\n").expect("a program in the manual");
    let (text, _) = after.split_once("```").expect("its end");
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("manual.c");
    std::fs::write(&source, text).expect("the program is written");
    let printed = compile_and_run(&source, &[], &[]);
    assert!(printed.starts_with("[{\"token\":7,\"ok\":{\"id\":\""), "{printed}");
}
