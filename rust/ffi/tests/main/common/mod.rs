//! What the tests of the C side share: where things are, and how to compile and run a C program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of `buquet.h`.
pub fn include_dir() -> PathBuf {
    crate_dir().join("../../include")
}

/// The folder of the shared library: cargo puts it beside the test executables.
pub fn library_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().expect("an executable is in a folder").to_owned();
    assert!(
        library_in(&folder).is_file(),
        "no shared library in {}: run `cargo build -p buquet-ffi`",
        folder.display()
    );
    folder
}

/// The shared library in a folder.
pub fn library_in(folder: &Path) -> PathBuf {
    folder.join(format!("{}buquet{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

/// Runs a command to its end and panics with what it printed unless it succeeds.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// A compiled program, in an environment that neither names another build of the library, as cargo's own does, nor the
/// developer's queue. It runs under the command in `BUQUET_TEST_RUNNER`, such as `valgrind`, if there is one.
pub fn program(path: &Path) -> Command {
    let runner = std::env::var("BUQUET_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().map(Path::new).chain([path]);
    let mut command = Command::new(words.next().unwrap_or(path));
    command.args(words);
    let loader = ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"];
    let configuration = ["BUQUET_URL", "BUQUET_PROFILE", "S3_BUCKET", "S3_REGION", "S3_ENDPOINT", "S3_PREFIX"];
    for name in loader.into_iter().chain(configuration) {
        command.env_remove(name);
    }
    command
}

/// A compiler with every warning on and each an error.
pub fn strict(compiler: &str, standard: &str) -> Command {
    let mut command = Command::new(compiler);
    command.args([&format!("-std={standard}"), "-Wall", "-Wextra", "-pedantic", "-Werror"]);
    command.arg("-I").arg(include_dir());
    command
}

/// Links with the shared library, which the program then finds where it is now, by the name an installed one has.
pub fn linked(command: &mut Command) -> &mut Command {
    let folder = library_dir();
    #[cfg(target_os = "linux")]
    if let Err(error) = std::os::unix::fs::symlink("libbuquet.so", folder.join("libbuquet.so.1")) {
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "cannot name the library in {}", folder.display());
    }
    command.arg("-L").arg(&folder).arg("-lbuquet").arg(format!("-Wl,-rpath,{}", folder.display()))
}
