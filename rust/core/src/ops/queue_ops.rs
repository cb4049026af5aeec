//! Operations on the queue.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use super::{Engine, answer, request};
use crate::config::{Key, span_text};
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::limits;
use crate::queue::{Dependency, FORMAT, Filter, Node, Submission, Unique};
use crate::record::Json;
use crate::store::{StoreErrorKind, StoreKind};

const DEFAULT_PAGE: usize = 100;
/// Bytes of inputs that the slowest connection sends in a second.
const SLOWEST: usize = 128 * 1024;

impl Engine {
    pub(super) async fn connect(&self, _: request::Empty) -> Result<answer::Connected> {
        let bucket = self.queue().await?.bucket();
        Ok(answer::Connected {
            url: bucket.store().url(),
            store: match bucket.store().kind() {
                StoreKind::S3 => "s3",
                StoreKind::Sqlite => "sqlite",
                StoreKind::Memory => "memory",
            },
            format: FORMAT,
            source: self.resolved.source.clone(),
            versions_kept: match bucket.keeps_versions().await {
                Ok(answer) => answer.value,
                // Only histories need this permission.
                Err(error) if error.kind == StoreErrorKind::Denied => false,
                Err(error) => return Err(error.into()),
            },
        })
    }

    pub(super) async fn submit(&self, mut request: request::Submit) -> Result<answer::Submitted> {
        let (options, when, about) = (request.options(&self.task_defaults())?, request.when()?, request.about()?);
        let submission = Submission { kind: request.kind, input: request.input, options, when, about };
        submission.check()?;
        let time = self.submit_time(std::slice::from_ref(&submission.input));
        if !request.after.is_empty() {
            if request.unique.is_some() || !request.payloads.is_empty() {
                return Err(Error::Invalid(
                    "after is given together with unique or payloads: let a task wait that is neither".into(),
                ));
            }
            let Submission { kind, input, options, when, about } = submission;
            let after = request.after.into_iter().map(Dependency::Task).collect();
            let (on, results) = (request.on, request.results);
            let node = Node { kind, inputs: vec![input], options, when, about, after, on, results };
            let submitting = async { self.queue().await?.submit_graph(&[node]).await };
            let ids = self.in_time(time, submitting).await?;
            let id = ids.into_iter().flatten().next();
            let id = id.ok_or_else(|| Error::Internal("a task was submitted and has no id".into()))?;
            return Ok(answer::Submitted { id, created: true });
        }
        let Some(unique) = request.unique.map(Unique::from) else {
            let payloads = request.payloads.into_iter().map(Into::into).collect();
            let submitting = async { self.queue().await?.submit_with(submission, payloads).await };
            let id = self.in_time(time, submitting).await?;
            return Ok(answer::Submitted { id, created: true });
        };
        if !request.payloads.is_empty() {
            return Err(Error::Invalid(
                "both unique and payloads are given: each upload has an owner of its own; submit one without the other"
                    .into(),
            ));
        }
        unique.check()?;
        let submitting = async { self.queue().await?.submit_unique(&submission, &unique).await };
        let (id, created) = self.in_time(time, submitting).await?;
        Ok(answer::Submitted { id, created })
    }

    /// How long a submit of these may take: many or large ones have more of it.
    fn submit_time(&self, inputs: &[Json]) -> Duration {
        let rounds = inputs.len() / (limits::RECORD_TASKS * limits::SUBMITS_IN_FLIGHT) + 1;
        let bytes: usize = inputs.iter().map(|input| input.text().len()).sum();
        let transfer = Duration::from_secs(u64::try_from(bytes / SLOWEST).unwrap_or(u64::MAX));
        (self.resolved.options.span(Key::RequestBudget) * u32::try_from(rounds).unwrap_or(u32::MAX))
            .saturating_add(transfer)
    }

    /// Gives a submit up when its time is over, however the store keeps it waiting.
    async fn in_time<T>(&self, time: Duration, submitting: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(time, submitting).await.unwrap_or_else(|_| {
            // Where nothing was opened nothing is stored.
            let unsure = if self.queue.get().is_some() {
                "; it may be stored all the same, so submit it again with an idempotency key"
            } else {
                ""
            };
            Err(Error::Unavailable(format!(
                "{} did not take the task within {}{unsure}; engine.request_budget says how long a submit tries",
                self.resolved.target.url(),
                span_text(time)
            )))
        })
    }

    pub(super) async fn submit_many(&self, mut request: request::SubmitMany) -> Result<answer::SubmittedMany> {
        let (options, when, about) = (request.options(&self.task_defaults())?, request.when()?, request.about()?);
        let time = self.submit_time(&request.inputs);
        let submitting =
            async { self.queue().await?.submit_many(&request.kind, request.inputs, options, when, &about).await };
        let ids = self.in_time(time, submitting).await?;
        Ok(answer::SubmittedMany { ids })
    }

    pub(super) async fn submit_graph(&self, request: request::SubmitGraph) -> Result<answer::SubmittedGraph> {
        let defaults = self.task_defaults();
        let nodes: Vec<Node> = request.nodes.into_iter().map(|node| node.node(&defaults)).collect::<Result<_>>()?;
        let inputs: Vec<Json> = nodes.iter().flat_map(|node| node.inputs.iter().cloned()).collect();
        // One node is stored after the other.
        let rounds = u32::try_from(nodes.len()).unwrap_or(u32::MAX).max(1);
        let time = self.submit_time(&inputs).saturating_mul(rounds);
        let submitting = async { self.queue().await?.submit_graph(&nodes).await };
        let nodes = self.in_time(time, submitting).await?;
        Ok(answer::SubmittedGraph { nodes })
    }

    pub(super) async fn get(&self, request: request::Get) -> Result<answer::Tasks> {
        if request.ids.len() > limits::SUBMIT_MANY {
            return Err(Error::Invalid(format!(
                "{} ids in one call; give up to {}",
                request.ids.len(),
                limits::SUBMIT_MANY
            )));
        }
        let ids: Vec<TaskId> = request.ids.iter().map(|id| id.parse()).collect::<Result<_>>()?;
        let queue = self.looked_through().await?;
        let tasks = queue.fill(queue.get(&ids).await?).await;
        Ok(answer::Tasks { tasks: tasks.into_iter().map(|task| task.map(Into::into)).collect() })
    }

    pub(super) async fn list(&self, request: request::List) -> Result<answer::Listing> {
        let status: BTreeSet<_> = request.status.into_iter().collect();
        let filter = Filter { status, kind: request.kind, tag: request.tag, parent: request.parent };
        let limit = request.limit.unwrap_or(DEFAULT_PAGE);
        let listing = self.looked_through().await?.list(&filter, limit, request.cursor.as_deref()).await?;
        Ok(answer::Listing {
            tasks: listing.tasks.into_iter().map(Into::into).collect(),
            cursor: listing.cursor,
            corrupt: listing.corrupt,
        })
    }

    pub(super) async fn history(&self, request: request::History) -> Result<answer::History> {
        let id = request.id.parse()?;
        let limit = request.limit.unwrap_or(DEFAULT_PAGE);
        let history = self.existing().await?.history(id, limit, request.cursor.as_deref()).await?;
        Ok(answer::History {
            events: history.events.into_iter().map(Into::into).collect(),
            cursor: history.cursor,
            complete: history.complete,
        })
    }

    pub(super) async fn wait(&self, request: request::Wait) -> Result<answer::Task> {
        let id = request.id.parse()?;
        let queue = self.existing().await?;
        tokio::select! {
            biased;
            () = self.closing() => Err(Error::Closed(format!("the engine was closed while task {id} was waited for"))),
            task = queue.wait(id, request.timeout.map(|span| span.0)) => {
                let mut filled = queue.fill(vec![Some(task?)]).await;
                filled.pop().flatten().map(Into::into).ok_or_else(|| Error::Internal("a task was lost".into()))
            }
        }
    }

    pub(super) async fn explain(&self, request: request::Explain) -> Result<answer::Explained> {
        let reason = self.existing().await?.explain(request.id.parse()?).await?;
        Ok(answer::Explained { reason })
    }

    pub(super) async fn list_workers(&self, _: request::Empty) -> Result<answer::Workers> {
        let (workers, corrupt) = self.looked_through().await?.workers().await?;
        Ok(answer::Workers { workers: workers.into_iter().map(Into::into).collect(), corrupt })
    }

    /// Needs no store: an engine that never reached one has used nothing.
    #[expect(clippy::unused_async, reason = "every operation is awaited alike")]
    pub(super) async fn usage(&self, _: request::Empty) -> Result<answer::UsageAnswer> {
        Ok(self.queue.get().map(crate::queue::Queue::usage).unwrap_or_default())
    }
}
