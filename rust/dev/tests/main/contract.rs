//! The server keeps the contract of stores, seen through the S3 backend, over memory and over a SQLite file.

#[expect(dead_code, reason = "only some of it is needed here")]
#[path = "../../../core/tests/store/support/mod.rs"]
mod support;

use std::sync::Arc;

use buquet_core::ops::Extension;
use buquet_core::store::contract::{AnyStore, Check};
use buquet_core::store::probe::probe;
use buquet_core::store::s3::{S3Options, S3Store};
use buquet_core::store::{Condition, Put, Store, StoreError};
use buquet_dev::DevServers;
use futures::future::join_all;
use serde_json::{Value, json};

/// A server whose keys are those of the environment.
struct Started {
    servers: DevServers,
    endpoint: String,
    _folder: tempfile::TempDir,
}

impl Started {
    async fn on(store: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = match store {
            "sqlite" => format!("sqlite:{}/dev.db", folder.path().display()),
            _ => "memory:".to_owned(),
        };
        let [(_, access_key), (_, secret_key)] = support::CREDENTIALS;
        let request = json!({"store": store, "access_key": access_key, "secret_key": secret_key});
        let servers = DevServers::default();
        let answer = servers.call("dev_server.start", request.to_string().as_bytes()).await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        Self { servers, endpoint: answer["endpoint"].as_str().unwrap().to_owned(), _folder: folder }
    }

    fn store(&self, prefix: &str) -> S3Store {
        S3Store::new(S3Options {
            bucket: "dev".to_owned(),
            prefix: prefix.to_owned(),
            region: Some("us-east-1".to_owned()),
            endpoint: Some(self.endpoint.clone()),
        })
    }
}

fn passes(check: Check) {
    if let Err(broken) = check {
        panic!("{broken}");
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

macro_rules! contract {
    ($store:ident: $($check:ident),+ $(,)?) => {
        mod $store {
            use super::*;
            $(#[test]
            fn $check() {
                let name = concat!("contract::", stringify!($store), "::", stringify!($check));
                if support::in_environment(name, &support::CREDENTIALS) {
                    run(async {
                        let started = Started::on(stringify!($store)).await;
                        for prefix in ["", "team/queue"] {
                            let store: AnyStore = Arc::new(started.store(prefix));
                            passes(buquet_core::store::contract::$check(&store).await);
                        }
                        started.servers.shutdown().await;
                    });
                }
            })+
        }
    };
}

macro_rules! on_each_store {
    ($($check:ident),+ $(,)?) => {
        contract!(memory: $($check),+);
        contract!(sqlite: $($check),+);
    };
}

on_each_store! {
    a_put_writes_only_under_its_condition,
    of_racing_creators_exactly_one_wins,
    of_racing_changers_exactly_one_wins,
    changes_by_comparing_and_swapping_lose_nothing,
    a_read_shows_what_was_written,
    a_known_object_is_not_sent_again,
    other_bytes_have_another_tag,
    deletions_take_many_keys_present_or_not,
    many_requests_at_once_all_get_their_own_answers,
    the_clock_does_not_run_backwards,
    a_listing_is_ordered_and_stays_in_its_prefix,
    a_listing_begins_after_the_key_given,
    long_listings_come_in_pages_that_miss_nothing,
    odd_keys_are_kept_as_they_are,
    versions_are_kept_newest_first,
    versions_come_in_pages,
    a_deletion_leaves_the_older_versions,
}

#[test]
fn the_probe_of_a_new_queue_is_content() {
    if support::in_environment("contract::the_probe_of_a_new_queue_is_content", &support::CREDENTIALS) {
        run(async {
            let started = Started::on("memory").await;
            probe(&started.store("queue"), "nonce").await.unwrap();
            started.servers.shutdown().await;
        });
    }
}

#[test]
fn of_32_racers_for_one_key_exactly_one_wins() {
    if !support::in_environment("contract::of_32_racers_for_one_key_exactly_one_wins", &support::CREDENTIALS) {
        return;
    }
    run(async {
        for kind in ["memory", "sqlite"] {
            let started = Started::on(kind).await;
            let store = Arc::new(started.store(""));
            for round in 0..20 {
                let racers = (0..32).map(|racer| {
                    let (store, key) = (Arc::clone(&store), format!("race/{round}"));
                    tokio::spawn(async move {
                        let put = store.put(&key, format!("by {racer}").into(), &Condition::IfAbsent).await?;
                        Ok::<_, StoreError>(matches!(put.value, Put::Stored(_)))
                    })
                });
                let answers = join_all(racers).await;
                let won = answers.into_iter().filter(|answer| *answer.as_ref().unwrap().as_ref().unwrap()).count();
                assert_eq!(won, 1, "{kind}, round {round}");
            }
            started.servers.shutdown().await;
        }
    });
}
