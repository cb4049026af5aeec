//! Every store keeps the same contract: the memory, bare and behind a simulated network, a SQLite
//! file, and each S3 server in `BUQUET_TEST_S3`.

use std::sync::Arc;

use buquet_core::store::contract::{AnyStore, Check};
use buquet_core::store::faulty::{FaultPlan, Network, Unobserved};
use buquet_core::store::memory::MemoryStore;
use buquet_core::store::sqlite::SqliteStore;

fn passes(store: &str, check: Check) {
    if let Err(broken) = check {
        panic!("{store}: {broken}");
    }
}

macro_rules! contract {
    ($($check:ident),+ $(,)?) => {
        mod memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let store: AnyStore = Arc::new(MemoryStore::new());
                passes("memory", buquet_core::store::contract::$check(&store).await);
            })+
        }

        mod sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let folder = tempfile::tempdir().unwrap();
                let store: AnyStore = Arc::new(SqliteStore::open(&folder.path().join("new/q.db")).unwrap());
                passes("sqlite", buquet_core::store::contract::$check(&store).await);
            })+
        }

        mod faulty {
            use super::*;
            $(#[tokio::test(start_paused = true)]
            async fn $check() {
                let network = Network::new(Arc::new(MemoryStore::new()), 7, FaultPlan::calm(), Arc::new(Unobserved));
                let store: AnyStore = network.connect("process");
                passes("memory behind a calm network", buquet_core::store::contract::$check(&store).await);
            })+
        }

        mod s3 {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                for server in crate::store::support::servers() {
                    let bucket = server.new_bucket().await;
                    for prefix in ["", "team/queue"] {
                        let store: AnyStore = Arc::new(server.store(&bucket, prefix));
                        let name = format!("{} with the prefix {prefix:?}", server.name);
                        passes(&name, buquet_core::store::contract::$check(&store).await);
                    }
                }
            })+
        }
    };
}

contract! {
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
