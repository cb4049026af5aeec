//! Collecting payloads that nothing names: their commit never came, or their record is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;

use crate::error::{Error, Result};
use crate::id::{PayloadId, RecordId};
use crate::keys;
use crate::limits;
use crate::queue::{CorruptObject, Queue, check_cursor, check_limit};
use crate::record::Task;
use crate::store::Listed;

/// Records looked into at the same time.
const IN_FLIGHT: usize = 16;

/// What one page of collecting came to.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Objects that nothing names; deleted, unless it was a dry run.
    pub orphans: usize,
    /// Their length together.
    pub bytes: u64,
    /// Objects that some record names, or that are too young to tell.
    pub kept: usize,
    /// Where to go on; `None` at the end.
    pub cursor: Option<String>,
    /// Records that cannot be read: what they may name is kept.
    pub corrupt: Vec<CorruptObject>,
}

impl Queue {
    /// Looks at up to `limit` (1 to 1,000) objects under `payloads/` and deletes those that no record names and that
    /// are older than `older_than`. Costs one listing, and one GET for each record that owns one of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad limit or cursor, or an age under [`limits::PAYLOAD_GRACE`]: younger payloads may
    /// still be on their way into a record. The store's.
    pub async fn collect_payloads(
        &self,
        older_than: Duration,
        limit: usize,
        cursor: Option<&str>,
        dry_run: bool,
    ) -> Result<Collected> {
        check_limit(limit)?;
        if older_than < limits::PAYLOAD_GRACE {
            return Err(Error::Invalid(format!(
                "older_than is {} s; give {} hours or more: younger payloads may be on their way into a record",
                older_than.as_secs(),
                limits::PAYLOAD_GRACE.as_secs() / 3600
            )));
        }
        check_cursor(cursor, keys::PAYLOADS)?;
        let answer = self.bucket().list(keys::PAYLOADS, cursor, limit).await?;
        let mut collected = Collected::default();
        let mut suspects: BTreeMap<RecordId, Vec<(PayloadId, &Listed)>> = BTreeMap::new();
        for listed in &answer.value.entries {
            match keys::parse_payload(&listed.key) {
                Some((owner, id, _)) if answer.at > listed.last_modified.after(older_than) => {
                    suspects.entry(owner).or_default().push((id, listed));
                }
                _ => collected.kept += 1,
            }
        }
        let looks =
            stream::iter(suspects).map(|(owner, objects)| async move { (self.named(owner).await, owner, objects) });
        let mut looks = looks.buffered(IN_FLIGHT).boxed();
        let mut orphans = Vec::new();
        while let Some((named, owner, objects)) = looks.next().await {
            let named = match named {
                Ok(named) => named,
                Err(error @ (Error::Corrupt(_) | Error::Layout(_))) => {
                    collected.kept += objects.len();
                    let (key, message) = (keys::record(owner), error.to_string());
                    collected.corrupt.push(CorruptObject { key, message });
                    continue;
                }
                Err(error) => return Err(error),
            };
            for (id, listed) in objects {
                if named.contains(&id) {
                    collected.kept += 1;
                } else {
                    collected.orphans += 1;
                    collected.bytes += listed.size;
                    orphans.push(listed.key.clone());
                }
            }
        }
        if !dry_run && !orphans.is_empty() {
            self.bucket().delete_many(&orphans).await?;
        }
        collected.cursor = answer.value.entries.last().filter(|_| answer.value.more).map(|last| last.key.clone());
        Ok(collected)
    }

    /// The payloads that a record names; none if it is gone.
    async fn named(&self, owner: RecordId) -> Result<BTreeSet<PayloadId>> {
        let stored = self.core().desk.load(owner).await?;
        let tasks = stored.iter().flat_map(|stored| &stored.record.tasks);
        Ok(tasks.flat_map(Task::payloads).map(|name| name.id).collect())
    }
}
