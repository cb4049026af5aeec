//! Slots that were missed, that overlap, or that are spread.

use std::collections::BTreeSet;
use std::time::Duration;

use buquet_core::queue::Filter;
use buquet_core::schedule::{CatchUp, Definition, Overlap, SkipReason};

use crate::queue::support::queue_on;

use super::crew::{Crew, MINUTE, START, a_store, at, every, put, sleep_until, slots, tasks};

#[tokio::test(start_paused = true)]
async fn slots_that_were_missed_while_all_were_down_are_caught_up_with() {
    for (catch_up, expected) in
        [(CatchUp::None, vec![]), (CatchUp::Latest, vec![590]), (CatchUp::All, (41..=59).map(|n| n * 10).collect())]
    {
        let store = a_store();
        let queue = queue_on(&store, 1).await;
        queue.put_schedule(put(Definition { catch_up, catch_up_limit: 19, ..every(10) })).await.unwrap();
        sleep_until(&store, at(595)).await;
        let crews = [Crew::start(&store, 2).await, Crew::start(&store, 3).await, Crew::start(&store, 4).await];
        futures::future::join_all(crews.iter().map(|crew| crew.work(at(599)))).await;
        assert_eq!(slots(&queue).await, expected, "{catch_up:?}");
        let schedule = queue.schedule("reports").await.unwrap();
        assert_eq!(schedule.handled, at(590));
        let skip = schedule.last_skip.map(|skip| skip.reason);
        assert_eq!(skip, Some(SkipReason::Missed), "{catch_up:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_missed_slots_are_caught_up_with() {
    let store = a_store();
    let queue = queue_on(&store, 1).await;
    queue.put_schedule(put(Definition { catch_up: CatchUp::All, catch_up_limit: 1_000, ..every(1) })).await.unwrap();
    sleep_until(&store, at(1_500)).await;
    let crew = Crew::start(&store, 2).await;
    crew.work(at(1_503)).await;
    let mut listed = Vec::new();
    let mut cursor = None;
    loop {
        let page = queue.list(&Filter::default(), 1_000, cursor.as_deref()).await.unwrap();
        listed.extend(page.tasks.iter().map(|task| task.task.available_at));
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let distinct: BTreeSet<_> = listed.iter().copied().collect();
    assert_eq!(distinct.len(), listed.len(), "no slot has two tasks");
    assert!((1_000..=1_004).contains(&listed.len()), "{} tasks", listed.len());
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_left_out_while_the_last_task_runs() {
    let store = a_store();
    let crew = Crew::start(&store, 1).await;
    crew.queue.put_schedule(put(Definition { overlap: Overlap::Skip, ..every(10) })).await.unwrap();
    sleep_until(&store, at(10)).await;
    let first = crew.one().await.unwrap();
    sleep_until(&store, at(13)).await;
    let extended = crew.worker.extend(first.id, first.lease, Duration::from_hours(1)).await;
    assert!(extended.is_ok());
    sleep_until(&store, at(25)).await;
    assert_eq!(slots(&crew.queue).await, [10]);
    let skip = crew.queue.schedule("reports").await.unwrap().last_skip.unwrap();
    assert_eq!((skip.slot, skip.reason), (at(20), SkipReason::Overlap));
    crew.complete(&first).await;
    crew.work(at(31)).await;
    assert_eq!(slots(&crew.queue).await, [10, 30]);
}

#[tokio::test(start_paused = true)]
async fn one_slot_waits_for_the_last_task_and_others_are_left_out() {
    let store = a_store();
    let crew = Crew::start(&store, 1).await;
    crew.queue.put_schedule(put(Definition { overlap: Overlap::Wait, ..every(10) })).await.unwrap();
    sleep_until(&store, at(10)).await;
    let first = crew.one().await.unwrap();
    crew.worker.extend(first.id, first.lease, Duration::from_hours(1)).await.unwrap();
    sleep_until(&store, at(35)).await;
    assert_eq!(slots(&crew.queue).await, [10]);
    assert_eq!(crew.queue.schedule("reports").await.unwrap().waiting, Some(at(20)));
    crew.complete(&first).await;
    crew.work(at(36)).await;
    assert_eq!(slots(&crew.queue).await, [10, 20], "as soon as the first has finished");
    assert_eq!(crew.queue.schedule("reports").await.unwrap().waiting, None);
    crew.work(at(41)).await;
    assert_eq!(slots(&crew.queue).await, [10, 20, 40]);
}

#[tokio::test(start_paused = true)]
async fn jitter_delays_the_task_and_not_the_slot() {
    let store = a_store();
    let (queue, crew) = (queue_on(&store, 1).await, Crew::start(&store, 2).await);
    queue.put_schedule(put(Definition { jitter_ms: 240_000, ..every(10) })).await.unwrap();
    crew.work(at(55)).await;
    let tasks = tasks(&queue).await;
    assert_eq!(tasks.len(), 5);
    let delays: BTreeSet<_> = tasks.iter().map(|task| (task.task.available_at.0 - START.0) % (10 * MINUTE)).collect();
    assert!(delays.len() == 5 && delays.iter().all(|delay| *delay < 240_000), "{delays:?}");
    assert!(tasks.iter().all(|task| task.task.started_at.unwrap() >= task.task.available_at));
}
