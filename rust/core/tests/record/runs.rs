//! Tasks that drive runs: what may be done to them, and what ends with them.

use buquet_core::entropy::Entropy;
use buquet_core::id::{CommitId, LeaseId, RecordId, WorkerId};
use buquet_core::limits;
use buquet_core::record::{BatchRecord, Extra, Fall, Json, Lease, Move, Options, Refusal, Task, TaskStatus};
use buquet_core::time::Timestamp;
use buquet_core::workflow::model::Run;
use buquet_core::workflow::state::{WishKind, Wished};
use buquet_core::workflow::status::RunStatus;
use buquet_core::workflow::wishes::Wish;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn driver(generation: u64) -> Task {
    let run = Run::new("order".into(), None, generation, NOW.into());
    Task { run: Some(Box::new(run)), ..Task::new(0, Json::null(), NOW, None) }
}

fn record() -> BatchRecord {
    let entropy = Entropy::seeded(1);
    let id = RecordId::random(&entropy).for_runs();
    let commit = CommitId::random(&entropy);
    BatchRecord::new(id, "workflow:order".into(), Options::default(), NOW, vec![driver(1)], commit)
}

fn claim(record: &mut BatchRecord, n: u64) -> LeaseId {
    let entropy = Entropy::seeded(n);
    let (lease, worker) = (LeaseId::random(&entropy), WorkerId::random(&entropy));
    let holder = Lease { worker, expires_at: Timestamp::LAST, extra: Extra::new() };
    assert_eq!(record.claim(lease, holder, NOW, 1).len(), 1);
    lease
}

fn wish(record: &mut BatchRecord, kind: WishKind) -> Wished {
    let wish = Wish { at: NOW.into(), ..Wish::default() };
    record.wish(record.id.task(0), kind, wish).unwrap().unwrap()
}

fn status(record: &BatchRecord) -> (TaskStatus, RunStatus) {
    (record.tasks[0].status, record.tasks[0].run.as_ref().unwrap().status)
}

#[test]
fn a_run_whose_driver_is_lost_too_often_has_failed_and_says_so() {
    let mut record = record();
    for n in 0..=u64::from(limits::LOSSES) {
        assert_eq!(status(&record), (TaskStatus::Pending, RunStatus::Pending));
        let lease = claim(&mut record, n);
        record.fall(lease, Fall::WorkerLost, NOW, 0.5);
    }
    assert_eq!(status(&record), (TaskStatus::Failed, RunStatus::Failed));
    let error = record.tasks[0].error.as_ref().unwrap();
    assert!(error.kind == "DriverLost" && error.message.contains("was lost 11 times"), "{error:?}");
}

#[test]
fn a_wish_for_a_run_that_is_held_is_kept_for_its_driver_and_wakes_it() {
    for kind in [WishKind::Cancel, WishKind::Terminate] {
        let mut record = record();
        claim(&mut record, 1);
        assert_eq!((wish(&mut record, kind), wish(&mut record, kind)), (Wished::Noted, Wished::Same));
        assert_eq!(status(&record), (TaskStatus::Running, RunStatus::Pending));
        assert!(record.tasks[0].park.as_ref().unwrap().woken);
    }
}

#[test]
fn a_run_that_nobody_holds_is_terminated_at_once_and_can_be_retried() {
    let mut record = record();
    let lease = claim(&mut record, 1);
    record.fall(lease, Fall::WorkerLost, NOW, 0.5);
    assert_eq!(wish(&mut record, WishKind::Terminate), Wished::Ended(RunStatus::Cancelled));
    assert_eq!(status(&record), (TaskStatus::Cancelled, RunStatus::Cancelled));
    assert_eq!(wish(&mut record, WishKind::Cancel), Wished::Ended(RunStatus::Cancelled));
    assert_eq!(wish(&mut record, WishKind::Retry), Wished::Begun);
    assert_eq!(status(&record), (TaskStatus::Pending, RunStatus::Pending));
}

#[test]
fn only_what_has_ended_is_started_anew_or_pruned_and_nothing_else_removes_a_run() {
    let mut record = record();
    let again = |record: &mut BatchRecord, generation| {
        record.start_again("workflow:order", &Options::default(), driver(generation))
    };
    assert_eq!((again(&mut record, 2), record.prune(NOW, |_| true)), (None, 0));
    wish(&mut record, WishKind::Cancel);
    assert_eq!((again(&mut record, 3), record.purge(NOW, |_| true)), (None, 0));
    assert_eq!(record.move_task(0, Move::Archive, NOW), Err(Refusal::Run));
    assert_eq!(again(&mut record, 2), Some(()));
    assert_eq!(status(&record), (TaskStatus::Pending, RunStatus::Pending));
    wish(&mut record, WishKind::Cancel);
    assert_eq!((record.prune(NOW, |_| true), record.is_purged()), (1, true));
    assert_eq!(again(&mut record, 3), None);
}
