//! Who fires, when, and at what price.

use std::time::Duration;

use buquet_core::entropy::Entropy;
use buquet_core::id::CommitId;
use buquet_core::keys;
use buquet_core::record::{BatchRecord, Options, TaskStatus};
use buquet_core::schedule::slot_record;
use buquet_core::store::{Condition, Store};
use tokio::time::sleep;

use crate::queue::support::queue_on;

use super::crew::{Crew, SOON, START, a_store, at, every, put, sleep_until, slots, tasks};

#[tokio::test(start_paused = true)]
async fn each_slot_has_one_task_with_ten_workers_and_none_is_late() {
    let store = a_store();
    let mut crews = Vec::new();
    for seed in 0..10 {
        crews.push(Crew::start(&store, seed).await);
    }
    let work = futures::future::join_all(crews.iter().map(|crew| crew.work(at(61))));
    let create = async {
        let queue = queue_on(&store, 99).await;
        sleep(Duration::from_secs(100)).await;
        queue.put_schedule(put(every(5))).await.unwrap();
        queue.flush().await;
    };
    tokio::join!(work, create);
    let queue = queue_on(&store, 100).await;
    assert_eq!(slots(&queue).await, [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60]);
    for task in tasks(&queue).await {
        assert_eq!(task.task.status, TaskStatus::Completed);
        assert_eq!(task.task.metadata["schedule"], "reports");
        assert_eq!(task.task.metadata["slot"], task.task.available_at.to_string());
        let late = task.task.submitted_at.since(task.task.available_at);
        assert!(late < Duration::from_secs(2), "the slot at {} was {late:?} late", task.task.available_at);
    }
    let schedule = queue.schedule("reports").await.unwrap();
    assert_eq!((schedule.handled, schedule.last_run.unwrap().slot), (at(60), at(60)));
}

#[tokio::test(start_paused = true)]
async fn those_who_did_not_fire_pay_next_to_nothing() {
    let store = a_store();
    let crews = [Crew::start(&store, 1).await, Crew::start(&store, 2).await, Crew::start(&store, 3).await];
    crews[0].queue.put_schedule(put(every(1))).await.unwrap();
    futures::future::join_all(crews.iter().map(|crew| crew.work(at(3)))).await;
    let puts = |crews: &[Crew]| crews.iter().map(|crew| crew.queue.usage().requests.put).sum::<u64>();
    let lists = |crews: &[Crew]| crews.iter().map(|crew| crew.queue.usage().requests.list).sum::<u64>();
    let before = (puts(&crews), lists(&crews));
    futures::future::join_all(crews.iter().map(|crew| crew.work(at(33)))).await;
    let spent = puts(&crews) - before.0;
    // For each slot: two to store it, one to note it, one for the bell, three to work it; and heartbeats.
    assert!(spent <= 30 * 7 + 3 * 40, "{spent} PUTs for 30 slots");
    // The regular looks and sweeps, and one of schedules in ten minutes.
    let listed = lists(&crews) - before.1;
    assert!(listed <= 3 * (30 + 45 + 6) + 60, "{listed} LISTs in half an hour");
    assert_eq!(
        slots(&crews[0].queue).await,
        (1..=32).chain([33]).take(tasks(&crews[0].queue).await.len()).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn a_queue_without_schedules_is_not_asked_for_any() {
    let store = a_store();
    let crew = Crew::start(&store, 1).await;
    crew.work(at(30)).await;
    let lists = crew.queue.usage().requests.list;
    // One look at the index a minute, one sweep every 50 s; the place where the queue is made, once; and the registry, soon
    // after the start and then ever less often. To ask for schedules would be 30 more.
    assert!(lists <= 30 + 37 + 9, "{lists} LISTs in half an hour");
}

#[tokio::test(start_paused = true)]
async fn a_void_left_in_a_slots_place_does_not_block_it() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    let (schedule, _) = queue.put_schedule(put(every(10))).await.unwrap();
    let (id, entropy) = (slot_record(&schedule, at(10)), Entropy::seeded(5));
    let commit = CommitId::random(&entropy);
    let mut void = BatchRecord::new(id, String::new(), Options::default(), START, Vec::new(), commit);
    void.void = true;
    void.seq = 1;
    void.stamp(commit);
    store.put(&keys::record(id), void.encode().unwrap(), &Condition::IfAbsent).await.unwrap();
    let crew = Crew::start(&store, 2).await;
    crew.work(at(11)).await;
    assert_eq!(slots(&queue).await, [10]);
    assert_eq!(tasks(&queue).await[0].task.status, TaskStatus::Completed);
    assert_eq!(tasks(&queue).await[0].id, id.task(0));
}

#[tokio::test(start_paused = true)]
async fn a_schedule_that_cannot_be_read_is_told_of_and_does_not_stop_the_others() {
    let store = a_store();
    let crew = Crew::start(&store, 1).await;
    store.put("schedules/broken.json", "{\"format\":1}".into(), &Condition::Always).await.unwrap();
    crew.queue.put_schedule(put(every(10))).await.unwrap();
    sleep_until(&store, at(9)).await;
    let next = crew.worker.next(1, SOON).await.unwrap();
    assert_eq!(next.problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), ["schedules/broken.json"]);
    crew.work(at(11)).await;
    assert_eq!(slots(&crew.queue).await, [10]);
    let listing = crew.queue.schedules(10, None).await.unwrap();
    assert_eq!((listing.schedules.len(), listing.corrupt.len()), (1, 1));
    crew.queue.delete_schedule("broken").await.unwrap();
    assert!(crew.queue.schedules(10, None).await.unwrap().corrupt.is_empty());
}
