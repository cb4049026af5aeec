//! What only a SQLite file promises: several processes, durability, a bounded size, clear errors, nothing left behind.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use buquet_core::store::sqlite::{SqliteStore, fork};
use buquet_core::store::{Condition, Got, Put, Store, StoreError, StoreErrorKind};
use bytes::Bytes;
use futures::future::join_all;
use tokio::time::{Instant, sleep};

/// Says to a process of this file's tests that it is not the test but its child, and where the database is.
const CHILD: &str = "BUQUET_TEST_SQLITE_CHILD";

fn open(path: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(path).unwrap())
}

fn child_of(test: &str, database: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([&format!("store::sqlite::{test}"), "--exact", "--nocapture"])
        .env(CHILD, database)
        .stdout(Stdio::piped());
    command
}

fn as_child() -> Option<PathBuf> {
    env::var_os(CHILD).map(PathBuf::from)
}

async fn number(store: &dyn Store, key: &str) -> (u64, Condition) {
    match store.get(key, None).await.unwrap().value {
        Got::Found(object) => {
            let text = String::from_utf8(object.body.to_vec()).unwrap();
            (text.split(' ').next().unwrap().parse().unwrap(), Condition::IfMatch(object.etag))
        }
        Got::Missing => (0, Condition::IfAbsent),
        Got::NotModified => panic!("not asked for"),
    }
}

async fn add(store: &dyn Store, times: usize) {
    let mut done = 0;
    while done < times {
        let (number, condition) = number(store, "number").await;
        let body = format!("{} by {}", number + 1, std::process::id());
        if matches!(store.put("number", Bytes::from(body), &condition).await.unwrap().value, Put::Stored(_)) {
            done += 1;
        }
    }
}

#[tokio::test]
async fn processes_that_start_at_once_and_change_one_object_lose_nothing() {
    const EACH: usize = 50;
    if let Some(path) = as_child() {
        return add(&*open(&path), EACH).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/new/q.db");
    let name = "processes_that_start_at_once_and_change_one_object_lose_nothing";
    let children: Vec<Child> = (0..4).map(|_| child_of(name, &path).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(number(&*open(&path), "number").await.0, 4 * EACH as u64);
}

#[tokio::test]
async fn what_a_killed_process_had_acknowledged_is_there() {
    const BEFORE_THE_KILL: usize = 300;
    if let Some(path) = as_child() {
        let store = open(&path);
        for n in 0.. {
            store.put(&format!("tasks/{n}"), Bytes::from(format!("{n}")), &Condition::IfAbsent).await.unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {n}").unwrap();
            out.flush().unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let mut child = child_of("what_a_killed_process_had_acknowledged_is_there", &path).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // The test harness writes its own words into the same line as the first.
    let acknowledged = lines.filter(|line| line.contains("acknowledged ")).take(BEFORE_THE_KILL).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(acknowledged, BEFORE_THE_KILL);
    let store = open(&path);
    for n in 0..BEFORE_THE_KILL {
        let got = store.get(&format!("tasks/{n}"), None).await.unwrap().value;
        assert!(matches!(got, Got::Found(object) if object.body == n.to_string()), "{n} is gone");
    }
}

/// What another library of this process does when it has opened the file and closes it: POSIX drops every lock that the
/// process has on it, whoever took it.
fn close_by_another_library(path: &Path) {
    for ending in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        drop(fs::File::open(name).unwrap());
    }
}

#[tokio::test]
async fn a_file_closed_by_another_library_of_the_process_loses_nothing() {
    const TEST: &str = "a_file_closed_by_another_library_of_the_process_loses_nothing";
    if let Some(path) = as_child() {
        let key = format!("tasks/of-process-{}", std::process::id());
        open(&path).put(&key, Bytes::new(), &Condition::IfAbsent).await.unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let store = open(&path);
    for n in 0..4 {
        store.put(&format!("tasks/{n}"), Bytes::new(), &Condition::IfAbsent).await.unwrap();
        close_by_another_library(&path);
        // Without our locks it takes itself for the file's only user and removes the log when it ends.
        assert!(child_of(TEST, &path).status().unwrap().success());
        store.put(&format!("tasks/{n}-after"), Bytes::new(), &Condition::IfAbsent).await.unwrap();
    }
    drop(store);
    assert_eq!(open(&path).list("tasks/", None, 100).await.unwrap().value.entries.len(), 12);
    let sound: String =
        rusqlite::Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

async fn is_there(path: &Path, key: &str) -> bool {
    matches!(open(path).get(key, None).await.unwrap().value, Got::Found(_))
}

#[tokio::test]
async fn after_its_file_was_deleted_a_store_goes_on_in_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q/q.db");
    let store = open(&path);
    store.put("old", Bytes::new(), &Condition::Always).await.unwrap();
    store.get("old", None).await.unwrap();
    let generation = store.generation();
    fs::remove_dir_all(folder.path().join("q")).unwrap();
    assert!(matches!(store.get("old", None).await.unwrap().value, Got::Missing), "what is gone was read");
    assert!(!path.exists(), "reading made a file");
    assert_ne!(store.generation(), generation);
    store.put("new", Bytes::new(), &Condition::Always).await.unwrap();
    assert!(is_there(&path, "new").await && !is_there(&path, "old").await);
}

#[tokio::test]
async fn after_its_file_was_replaced_a_store_works_on_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let [path, other] = ["q.db", "other.db"].map(|name| folder.path().join(name));
    open(&other).put("theirs", Bytes::new(), &Condition::Always).await.unwrap();
    let store = open(&path);
    store.put("ours", Bytes::new(), &Condition::Always).await.unwrap();
    let generation = store.generation();
    fs::rename(&other, &path).unwrap();
    // A log that stays behind would be taken for the new database's.
    for name in ["q.db-wal", "q.db-shm"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    store.put("new", Bytes::new(), &Condition::Always).await.unwrap();
    assert!(is_there(&path, "new").await && is_there(&path, "theirs").await);
    assert!(matches!(store.get("theirs", None).await.unwrap().value, Got::Found(_)));
    assert_ne!(store.generation(), generation);
}

#[tokio::test]
async fn what_was_written_into_a_file_that_is_gone_is_not_acknowledged() {
    for gone in ["q.db", "q.db-wal", "q.db-shm"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.db");
        let store = open(&path);
        store.put("x", Bytes::new(), &Condition::Always).await.unwrap();
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let waiting = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.put("y", Bytes::new(), &Condition::Always).await }
        });
        // Nothing shows that SQLite waits for the lock; on a busy machine 50 ms were once too few.
        sleep(Duration::from_millis(500)).await;
        fs::remove_file(folder.path().join(gone)).unwrap();
        other.execute_batch("COMMIT").unwrap();
        let error = waiting.await.unwrap().unwrap_err();
        assert!(error.kind == StoreErrorKind::Unavailable && error.message.contains("deleted or replaced"), "{error}");
    }
}

#[tokio::test]
async fn reading_makes_neither_folder_nor_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/q.db");
    let store = open(&path);
    assert!(matches!(store.get("x", None).await.unwrap().value, Got::Missing));
    assert!(store.list("", None, 10).await.unwrap().value.entries.is_empty());
    assert!(store.versions("tasks/x", None, 10).await.unwrap().value.versions.is_empty());
    assert!(!folder.path().join("new").exists());
    open(&path).put("x", Bytes::new(), &Condition::Always).await.unwrap();
    assert!(matches!(store.get("x", None).await.unwrap().value, Got::Found(_)), "what came later is not seen");
}

#[tokio::test]
async fn the_default_folder_keeps_itself_out_of_version_control() {
    let folder = tempfile::tempdir().unwrap();
    for name in [".buquet", "other"] {
        let path = folder.path().join(name).join("buquet.db");
        open(&path).put("x", Bytes::new(), &Condition::Always).await.unwrap();
    }
    assert_eq!(fs::read_to_string(folder.path().join(".buquet/.gitignore")).unwrap(), "*\n");
    assert!(!folder.path().join("other/.gitignore").exists());
}

#[tokio::test]
async fn a_file_behind_a_link_is_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let [path, link] = ["q.db", "link.db"].map(|name| folder.path().join(name));
    open(&path).put("x", Bytes::new(), &Condition::Always).await.unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let store = open(&link);
    store.put("y", Bytes::new(), &Condition::Always).await.unwrap();
    assert!(is_there(&path, "y").await && is_there(&link, "x").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_in_one_process_see_each_others_writes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let (one, two) = (open(&path), open(&path));
    let mut latest = 0;
    for n in 0..100 {
        let (writer, reader) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let put = writer.put("x", Bytes::from(format!("{n}")), &Condition::Always).await.unwrap();
        let got = reader.get("x", None).await.unwrap();
        assert!(matches!(&got.value, Got::Found(object) if object.body == n.to_string()));
        assert!(put.at.0 >= latest && got.at >= put.at, "{latest} {} {}", put.at, got.at);
        latest = got.at.0;
    }
}

#[tokio::test]
async fn objects_outside_tasks_do_not_make_the_file_grow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let store = open(&path);
    let mut sizes = Vec::new();
    for round in 0..4 {
        for chunk in 0..10 {
            let keys: Vec<String> = (0..100).map(|n| format!("ready/{round}/{chunk}/{n}")).collect();
            let puts = keys.iter().map(|key| store.put(key, Bytes::from(vec![b'x'; 2_000]), &Condition::IfAbsent));
            assert!(join_all(puts).await.iter().all(Result::is_ok));
            let beat = Bytes::from(format!("{round} {chunk}"));
            store.put("workers/one.json", beat, &Condition::Always).await.unwrap();
            store.delete_many(&keys).await.unwrap();
        }
        // What is only in the log counts as well.
        sizes.push(file_size_without_log(&path));
    }
    assert_eq!(sizes[0], sizes[3], "{sizes:?}");
    let versions = store.versions("workers/one.json", None, 10).await.unwrap().value;
    assert!(versions.versions.is_empty(), "heartbeats are kept: {versions:?}");
}

fn file_size_without_log(path: &Path) -> u64 {
    let database = rusqlite::Connection::open(path).unwrap();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    fs::metadata(path).unwrap().len()
}

#[tokio::test]
async fn a_dropped_request_hinders_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("q.db"));
    for n in 0..50 {
        let key = format!("x/{n}");
        let put = store.put(&key, Bytes::new(), &Condition::Always);
        // Sent by being polled once, then given up.
        drop(tokio::time::timeout(Duration::ZERO, put).await);
    }
    store.put("y", Bytes::new(), &Condition::IfAbsent).await.unwrap();
    assert!(matches!(store.get("y", None).await.unwrap().value, Got::Found(_)));
}

async fn failure(path: &Path) -> StoreError {
    let store = open(path);
    let error = store.put("x", Bytes::new(), &Condition::Always).await.unwrap_err();
    let read = store.get("x", None).await.unwrap_err();
    assert_eq!(error.kind, read.kind);
    assert!(error.message.contains(&*path.parent().unwrap().to_string_lossy()), "{error}");
    error
}

#[tokio::test]
async fn a_path_that_cannot_be_used_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a database, but long enough to look for a header in it").unwrap();

    let error = failure(&file.join("q.db")).await;
    assert_eq!(error.kind, StoreErrorKind::NoBucket, "{error}");
    assert!(error.message.contains("cannot create the folder"), "{error}");

    let error = failure(&folder.path().join(".")).await;
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    assert!(error.message.contains("not a folder"), "{error}");

    let error = failure(&file).await;
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    assert!(error.message.contains("not a SQLite database"), "{error}");
    assert_eq!(fs::read(&file).unwrap().len(), 58, "a file of another kind was changed");
}

#[tokio::test]
async fn the_database_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theirs.db");
    let theirs = rusqlite::Connection::open(&path).unwrap();
    theirs.execute_batch("CREATE TABLE objects (name TEXT)").unwrap();
    let before = fs::read(&path).unwrap();
    let error = failure(&path).await;
    assert_eq!(error.kind, StoreErrorKind::Invalid);
    assert!(error.message.contains("another program"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    open(&path).put("x", Bytes::new(), &Condition::Always).await.unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 2").unwrap();
    let error = failure(&path).await;
    assert!(error.kind == StoreErrorKind::Invalid && error.message.contains("upgrade buquet"), "{error}");
}

#[tokio::test]
async fn a_store_recovers_once_its_path_is_usable() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("blocked");
    fs::write(&blocked, "").unwrap();
    let store = open(&blocked.join("q.db"));
    assert!(store.get("x", None).await.is_err());
    fs::remove_file(&blocked).unwrap();
    store.put("x", Bytes::new(), &Condition::Always).await.unwrap();
}

#[tokio::test]
async fn every_commit_waits_for_a_writer_in_another_connection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let store = open(&path);
    store.put("x", Bytes::new(), &Condition::Always).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = tokio::spawn(async move { store.put("y", Bytes::new(), &Condition::Always).await });
    sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished(), "the lock was ignored");
    other.execute_batch("COMMIT").unwrap();
    waiting.await.unwrap().unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_finds_no_file_open_and_requests_go_on_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let store = open(&path);
    let is_ours = |file: PathBuf| file.starts_with(folder.path());
    let open_files = || fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    for n in 0..20 {
        let key = format!("x/{n}");
        store.put(&key, Bytes::new(), &Condition::IfAbsent).await.unwrap();
        store.get(&key, None).await.unwrap();
        assert!(open_files().any(is_ours), "both connections are open");
        fork::prepare();
        assert!(!open_files().any(is_ours), "a connection is open during a fork");
        let (waiting, late) = (Arc::clone(&store), format!("y/{n}"));
        let waiting = tokio::spawn(async move { waiting.put(&late, Bytes::new(), &Condition::IfAbsent).await });
        fork::parent();
        waiting.await.unwrap().unwrap();
    }
    assert_eq!(store.list("", None, 100).await.unwrap().value.entries.len(), 40);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_thousand_opened_and_closed_stores_leave_no_descriptor_and_no_thread() {
    let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let before = (count("fd"), count("task"));
    open(&path).put("x", Bytes::new(), &Condition::Always).await.unwrap();
    for n in 0..1_000 {
        let store = open(&path);
        // Some are dropped without ever having been used.
        if n % 3 != 0 {
            store.get("x", None).await.unwrap();
        }
        if n % 3 == 2 {
            store.put("x", Bytes::new(), &Condition::Always).await.unwrap();
        }
        drop(store);
        assert_eq!(count("fd"), before.0, "round {n} left a descriptor");
    }
    // The kernel may show a thread for a moment after it was joined.
    let deadline = Instant::now() + Duration::from_secs(20);
    while count("task") > before.1 {
        assert!(Instant::now() < deadline, "{before:?} before, {:?} after", (count("fd"), count("task")));
        sleep(Duration::from_millis(5)).await;
    }
}
