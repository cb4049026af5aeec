//! Signals at every moment of a run.

use std::time::Duration;

use buquet_core::Error;
use buquet_core::keys;
use buquet_core::record::{BatchRecord, TaskStatus};
use buquet_core::worker::RunState;
use buquet_core::workflow::client::{CallbackToken, Said, Sent};
use buquet_core::workflow::status::RunStatus;

use crate::workflow::support::{
    Body, Do, Effects, Turned, assigned, json, memory, process, run_to_end, start, worker_on,
};

#[tokio::test(start_paused = true)]
async fn a_signal_sent_before_the_run_begins_is_there_when_it_asks() {
    let queue = process(&memory(), 1).await;
    let run = start(&queue).await;
    assert_eq!(queue.signal_run(run.id, "go", json("1"), None, None).await.unwrap(), Sent::Sent(RunStatus::Pending));
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let told = run_to_end(&worker, &[Do::Steps(vec!["a"]), Do::Signal("go", Some(60_000))], &effects).await;
    assert_eq!(told[1], "2 signal 1");
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_comes_between_the_look_and_the_park_is_not_missed() {
    for other_process in [false, true] {
        let store = memory();
        let (queue, other) = (process(&store, 1).await, process(&store, 2).await);
        let (worker, effects) = (worker_on(&queue).await, Effects::default());
        let run = start(&queue).await;
        let mut body =
            Body::open(&worker, &assigned(&worker).await, &[Do::Signal("go", None)], &effects).await.unwrap();
        // The driver has nothing to tell, and would park with the next turn.
        worker.next_of_run(body.id, body.lease).await.unwrap();
        let sender = if other_process { &other } else { &queue };
        sender.signal_run(run.id, "go", json("1"), None, None).await.unwrap();
        assert!(matches!(body.turn().await.unwrap(), Turned::On));
        let (state, told) = body.drive().await.unwrap();
        assert_eq!((state, told), (RunState::Ended, vec!["0 signal 1".to_owned()]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_whose_time_is_up_says_so_and_a_later_signal_stays_unread() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    let script = [Do::Signal("go", Some(60_000)), Do::Sleep(3_600_000)];
    let first = assigned(&worker).await;
    let (state, _) = Body::open(&worker, &first, &script, &effects).await.unwrap().drive().await.unwrap();
    assert_eq!(state, RunState::Parked);
    let again = assigned(&worker).await;
    let (state, told) = Body::open(&worker, &again, &script, &effects).await.unwrap().drive().await.unwrap();
    assert_eq!((state, told), (RunState::Parked, vec!["0 signal -".to_owned()]));
    queue.signal_run(run.id, "go", json("1"), None, None).await.unwrap();
    let told = run_to_end(&worker, &script, &effects).await;
    assert_eq!(told, ["0 signal -", "2 timer"]);
    assert_eq!(queue.bucket().list(&keys::inbox(run.id), None, 10).await.unwrap().value.entries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn signals_are_told_in_the_order_in_which_they_were_sent_and_each_once() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    for n in 0..250 {
        queue.signal_run(run.id, "go", json(&n.to_string()), None, None).await.unwrap();
    }
    let told = run_to_end(&worker, &vec![Do::Signal("go", None); 250], &effects).await;
    let payloads: Vec<String> = told.iter().map(|told| told.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(payloads, (0..250).map(|n| n.to_string()).collect::<Vec<_>>());
    queue.flush().await;
    assert!(queue.bucket().list(&keys::inbox(run.id), None, 10).await.unwrap().value.entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_signal_with_an_id_counts_once_however_often_it_is_sent() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    let send = || queue.signal_run(run.id, "go", json("1"), Some("paid-7".into()), None);
    send().await.unwrap();
    send().await.unwrap();
    let script = [Do::Signal("go", None), Do::Signal("go", Some(60_000))];
    let first = assigned(&worker).await;
    let (state, told) = Body::open(&worker, &first, &script, &effects).await.unwrap().drive().await.unwrap();
    assert_eq!((state, told), (RunState::Parked, vec!["0 signal 1".to_owned()]));
    send().await.unwrap();
    assert_eq!(run_to_end(&worker, &script, &effects).await, ["0 signal 1", "2 signal -"]);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_signals_at_once_wake_a_run_a_few_times_and_a_burst_is_read_in_order() {
    let store = memory();
    let queue = process(&store, 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    for n in 0..2_500 {
        queue.signal_run(run.id, "go", json(&n.to_string()), None, None).await.unwrap();
    }
    let key = keys::record(run.id.record());
    let record = BatchRecord::decode(&key, &store.objects()[&key].body).unwrap();
    assert_eq!(record.rev, 2, "one start and one wake");
    let told = run_to_end(&worker, &vec![Do::Signal("go", None); 2_500], &effects).await;
    let payloads: Vec<usize> = told.iter().map(|told| told.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(payloads, (0..2_500).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn who_signals_a_run_that_is_over_or_not_there_is_told() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    run_to_end(&worker, &[], &effects).await;
    let sent = queue.signal_run(run.id, "go", json("1"), None, None).await.unwrap();
    assert_eq!(sent, Sent::Ended(RunStatus::Completed));
    assert!(queue.bucket().list(&keys::inbox(run.id), None, 10).await.unwrap().value.entries.is_empty());
    let nobody = buquet_core::workflow::client::run_id("nobody").unwrap();
    assert!(matches!(queue.signal_run(nobody, "go", json("1"), None, None).await, Err(Error::NotFound(_))));
    for bad in ["../x", "", "~callbacks"] {
        assert!(matches!(queue.signal_run(run.id, bad, json("1"), None, None).await, Err(Error::Invalid(_))), "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_callback_is_completed_once_and_by_its_own_token_only() {
    let queue = process(&memory(), 1).await;
    let (worker, effects) = (worker_on(&queue).await, Effects::default());
    let run = start(&queue).await;
    let first = assigned(&worker).await;
    let body = Body::open(&worker, &first, &[Do::Callback], &effects).await.unwrap();
    assert_eq!(body.drive().await.unwrap().0, RunState::Parked);
    let token = CallbackToken { run: run.id, life: (1, 0), op: 0 };
    let complete = |token| {
        let end = buquet_core::workflow::entry::End::completed(json("5"), 0);
        queue.tell_callback(token, Said::Ended(end))
    };
    let other = CallbackToken { life: (1, 1), ..token };
    assert!(matches!(complete(other).await.unwrap(), Sent::Ended(_)));
    assert!(matches!(complete(CallbackToken { life: (2, 0), ..token }).await, Err(Error::Conflict(_))));
    assert!(matches!(queue.tell_callback(token, Said::Alive).await.unwrap(), Sent::Sent(_)));
    assert!(matches!(complete(token).await.unwrap(), Sent::Sent(_)));
    assert!(matches!(complete(token).await.unwrap(), Sent::Sent(_)));
    assert_eq!(run_to_end(&worker, &[Do::Callback], &effects).await, ["0 Completed 5"]);
    assert!("nonsense".parse::<CallbackToken>().is_err());
    let ended = queue.get(&[run.id]).await.unwrap()[0].clone().unwrap();
    assert_eq!(ended.task.status, TaskStatus::Completed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(queue.bucket().list(&keys::inbox(run.id), None, 10).await.unwrap().value.entries.is_empty());
}
