//! What people and programs do with schedules.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use buquet_core::Error;
use buquet_core::queue::{Declared, PutSchedule};
use buquet_core::record::TaskStatus;
use buquet_core::schedule::Definition;
use buquet_core::store::{Condition, Store};
use bytes::Bytes;

use crate::queue::support::queue_on;

use super::crew::{Crew, MINUTE, SOON, START, a_store, at, every, put, sleep_until, slots, tasks};

#[tokio::test(start_paused = true)]
async fn a_disabled_schedule_rests_and_goes_on_from_when_it_is_enabled() {
    let store = a_store();
    let (queue, crew) = (queue_on(&store, 1).await, Crew::start(&store, 2).await);
    queue.put_schedule(put(every(10))).await.unwrap();
    crew.work(at(11)).await;
    assert!(!queue.enable_schedule("reports", false).await.unwrap().enabled);
    crew.work(at(35)).await;
    assert_eq!(slots(&queue).await, [10]);
    assert!(queue.enable_schedule("reports", true).await.unwrap().enabled);
    crew.work(at(41)).await;
    assert_eq!(slots(&queue).await, [10, 40], "what came meanwhile is not caught up with");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_schedule_is_gone_and_its_name_can_be_used_again() {
    let store = a_store();
    let (queue, crew) = (queue_on(&store, 1).await, Crew::start(&store, 2).await);
    let (first, _) = queue.put_schedule(put(every(10))).await.unwrap();
    crew.work(at(11)).await;
    queue.delete_schedule("reports").await.unwrap();
    assert!(matches!(queue.delete_schedule("reports").await, Err(Error::NotFound(_))));
    assert!(matches!(queue.schedule("reports").await, Err(Error::NotFound(_))));
    crew.work(at(25)).await;
    let (second, _) = queue.put_schedule(put(every(10))).await.unwrap();
    assert_ne!(first.id, second.id);
    crew.work(at(31)).await;
    assert_eq!(slots(&queue).await, [10, 30]);
}

#[tokio::test(start_paused = true)]
async fn putting_a_schedule_again_changes_it_only_if_that_is_wanted() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    let (schedule, changed) = queue.put_schedule(put(every(10))).await.unwrap();
    assert!(changed && schedule.enabled && schedule.rev == 1);
    let (same, changed) = queue.put_schedule(put(every(10))).await.unwrap();
    assert_eq!((same.rev, changed), (1, false));
    let error = queue.put_schedule(put(every(20))).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(message) if message.contains("\"reports\"")), "{error}");
    sleep_until(&store, at(33)).await;
    let (other, changed) = queue.put_schedule(PutSchedule { replace: true, ..put(every(20)) }).await.unwrap();
    assert_eq!((other.id, other.rev, changed), (schedule.id, 2, true));
    assert!(other.handled >= at(32), "other times count from now");
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_before_anything_is_stored() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    let cron = |cron: &str| Definition { cron: Some(cron.into()), every_ms: None, ..every(1) };
    for (definition, words) in [
        (Definition { every_ms: Some(999), ..every(1) }, "999 ms"),
        (Definition { every_ms: None, ..every(1) }, "either cron or every"),
        (Definition { cron: Some("@daily".into()), ..every(1) }, "either cron or every"),
        (Definition { timezone: Some("UTC".into()), ..every(1) }, "no zone"),
        (Definition { timezone: Some("Berlin".into()), ..cron("@daily") }, "\"Berlin\""),
        (cron("0 0 30 2 *"), "never fires"),
        (cron("0 0 * *"), "4 fields"),
        (Definition { kind: "a b".into(), ..every(1) }, "task type"),
        (Definition { catch_up_limit: 0, ..every(1) }, "catch_up_limit"),
        (Definition { jitter_ms: 86_400_001, ..every(1) }, "jitter"),
    ] {
        let error = queue.put_schedule(put(definition)).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid(message) if message.contains(words)), "{words}: {error}");
    }
    let error = queue.put_schedule(PutSchedule { name: "../x".into(), ..put(every(1)) }).await.unwrap_err();
    assert!(error.to_string().contains("schedule's name"), "{error}");
    assert!(store.keys("schedules/").is_empty() && store.keys("ready/").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_trigger_runs_the_task_besides_its_slots() {
    let store = a_store();
    let (queue, crew) = (queue_on(&store, 1).await, Crew::start(&store, 2).await);
    let (tags, metadata) = (vec!["sales".into()], BTreeMap::from([("team".into(), "blue".into())]));
    let definition = Definition { tags, metadata, ttl_ms: Some(60_000), ..every(10) };
    queue.put_schedule(put(definition)).await.unwrap();
    sleep_until(&store, at(3)).await;
    let id = queue.trigger_schedule("reports").await.unwrap();
    crew.work(at(11)).await;
    for task in tasks(&queue).await {
        let said = |key: &str| task.task.metadata.get(key).map(String::as_str);
        assert_eq!((said("schedule"), said("team")), (Some("reports"), Some("blue")), "what is said of all of them");
        assert_eq!(said("slot").is_some(), task.id != id);
        assert_eq!(task.task.tags, ["sales"]);
        assert_eq!(task.task.expires_at, Some(task.task.available_at.after(Duration::from_mins(1))));
    }
    assert_eq!(queue.wait(id, Some(SOON)).await.unwrap().task.status, TaskStatus::Completed);
    assert_eq!(slots(&queue).await, [3, 10]);
    assert!(matches!(queue.trigger_schedule("other").await, Err(Error::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn a_range_is_filled_in_once() {
    let store = a_store();
    let (queue, crew) = (queue_on(&store, 1).await, Crew::start(&store, 2).await);
    queue.put_schedule(put(every(10))).await.unwrap();
    crew.work(at(31)).await;
    assert_eq!(slots(&queue).await, [10, 20, 30]);
    let filled = queue.backfill_schedule("reports", at(-20), at(30)).await.unwrap();
    let created: Vec<_> = filled.iter().map(|filled| ((filled.slot.0 - START.0) / MINUTE, filled.created)).collect();
    assert_eq!(created, [(-20, true), (-10, true), (0, true), (10, false), (20, false)]);
    let again = queue.backfill_schedule("reports", at(-20), at(30)).await.unwrap();
    assert!(again.iter().all(|filled| !filled.created));
    assert_eq!(slots(&queue).await, [-20, -10, 0, 10, 20, 30]);
    for (from, until, words) in
        [(at(10), at(10), "is empty"), (at(10), at(50), "is to come"), (at(-200_000), at(10), "piece by piece")]
    {
        let error = queue.backfill_schedule("reports", from, until).await.unwrap_err();
        assert!(matches!(&error, Error::Invalid(message) if message.contains(words)), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_filled_in_late_has_its_time_to_live_from_now() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    sleep_until(&store, at(60)).await;
    queue.put_schedule(put(Definition { ttl_ms: Some(300_000), ..every(10) })).await.unwrap();
    queue.backfill_schedule("reports", at(0), at(20)).await.unwrap();
    let worker = Crew::start(&store, 2).await;
    let given = worker.worker.next(4, SOON).await.unwrap().assignments;
    assert_eq!(given.len(), 2, "none of them is too late: they were asked for just now");
    for task in &given {
        worker.complete(task).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_cannot_be_read_keeps_no_other_from_being_declared() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    let declared = |name: &str| Declared { name: name.into(), definition: every(10), module: "tasks".into() };
    let modules = BTreeSet::from(["tasks".to_owned()]);
    queue.sync_schedules(vec![declared("a")], &modules).await.unwrap();
    store.put("schedules/a.json", Bytes::from_static(b"{"), &Condition::Always).await.unwrap();
    let synced = queue.sync_schedules(vec![declared("a"), declared("b")], &modules).await.unwrap();
    assert_eq!(synced.created, ["b"]);
    let keys: Vec<_> = synced.corrupt.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["schedules/a.json"]);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_says_something_else_is_told_with_what_differs() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    queue.put_schedule(PutSchedule { enabled: Some(false), ..put(every(10)) }).await.unwrap();
    let other = queue.put_schedule(put(Definition { jitter_ms: 5, ..every(20) })).await.unwrap_err().to_string();
    assert!(other.contains("every_ms, jitter_ms") && other.contains("ask for it to be replaced"), "{other}");
    let enabled = PutSchedule { enabled: Some(true), ..put(every(10)) };
    let disabled = queue.put_schedule(enabled).await.unwrap_err().to_string();
    assert!(disabled.contains("it is disabled"), "{disabled}");
}

#[tokio::test(start_paused = true)]
async fn what_code_declares_is_synced_and_what_it_no_longer_declares_is_told() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    let declared = |name: &str, definition| Declared { name: name.into(), definition, module: "tasks".into() };
    let modules = BTreeSet::from(["tasks".to_owned()]);
    let both = vec![declared("a", every(10)), declared("b", every(20))];
    let synced = queue.sync_schedules(both.clone(), &modules).await.unwrap();
    assert_eq!((synced.created.len(), synced.changed.len(), synced.missing.len()), (2, 0, 0));
    let again = queue.sync_schedules(both, &modules).await.unwrap();
    assert_eq!((again.created.len(), again.changed.len(), again.missing.len()), (0, 0, 0));
    queue.put_schedule(put(every(30))).await.unwrap();
    queue.enable_schedule("a", false).await.unwrap();
    let changed = queue.sync_schedules(vec![declared("a", every(15))], &modules).await.unwrap();
    assert_eq!((changed.created.len(), changed.changed), (0, vec!["a".to_owned()]));
    let missing: Vec<_> = changed.missing.iter().map(|schedule| schedule.name.as_str()).collect();
    assert_eq!(missing, ["b"], "the one that was made by hand is not code's to declare");
    let (a, b) = (queue.schedule("a").await.unwrap(), queue.schedule("b").await.unwrap());
    assert!(!a.enabled, "who disabled it had a reason");
    assert!(b.undeclared_at.is_some() && b.enabled);
    let elsewhere = queue.sync_schedules(Vec::new(), &BTreeSet::from(["other".to_owned()])).await.unwrap();
    assert!(elsewhere.missing.is_empty(), "another module's");
    let back = queue.sync_schedules(vec![declared("b", every(20))], &modules).await.unwrap();
    assert_eq!(back.changed, ["b"]);
    assert_eq!(queue.schedule("b").await.unwrap().undeclared_at, None);
    let twice = queue.sync_schedules(vec![declared("a", every(1)), declared("a", every(2))], &modules).await;
    assert!(matches!(twice, Err(Error::Invalid(_))));
}
