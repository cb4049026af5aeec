//! Submitting, and waiting for results.

use buquet_core::Error;
use buquet_core::id::TaskId;
use buquet_core::queue::{About, Dependency, Node, Submission, TaskView, Unique, When};
use buquet_core::record::{Extras, Json, Options, RetryPolicy};
use futures::future::join_all;
use std::time::Duration;
use tokio::time::sleep;

use super::{Living, name_of};
use crate::journal::{Keyed, Submit};
use crate::scenario::{Burst, UniquePlan};
use crate::script::Script;

/// How long a producer waits for a result.
const PATIENCE: Duration = Duration::from_mins(5);

impl Living {
    /// Submits a burst and, if it says so, waits for the results.
    pub(super) async fn produce(&self, burst: Burst) {
        sleep(burst.after).await;
        self.store.resumed().await;
        self.expect_signals(&burst);
        let ids = match &burst.about.unique {
            _ if !burst.graph.is_empty() => self.submit_graph(&burst).await,
            Some(unique) => self.submit_keyed(&burst, unique).await,
            None if burst.many => self.submit_many(&burst).await,
            None => self.submit_each(&burst).await,
        };
        if let Some(after) = burst.about.cancel_after {
            sleep(after).await;
            self.cancel(ids.iter().step_by(2).copied().collect()).await;
        }
        if let Some(operation) = &burst.operation {
            self.operate(operation).await;
        }
        self.send_signals(&burst).await;
        if burst.wait {
            let waits =
                join_all(ids.into_iter().map(|id| async move { (id, self.queue.wait(id, Some(PATIENCE)).await) }));
            tokio::select! {
                biased;
                () = self.world.end.wait() => {}
                // Noted in the order of the ids: in which order waiters of one record wake up is up to tokio.
                answers = waits => answers.into_iter().for_each(|(id, answer)| self.waited(id, answer)),
            }
        }
    }

    async fn submit_each(&self, burst: &Burst) -> Vec<TaskId> {
        let submits = burst.scripts.iter().zip(0..).map(|(script, n)| async move {
            let input = input(script)?;
            let mut options = burst.options();
            // Only tasks with equal options share a record.
            options.timeout_ms += if burst.apart { n } else { 0 };
            let (when, about) = (burst.when(), burst.about());
            self.queue.submit(Submission { options, when, about, ..Submission::new(&burst.kind, input) }).await
        });
        let answers = join_all(submits).await;
        answers.into_iter().zip(&burst.scripts).filter_map(|(answer, script)| self.submitted(script, answer)).collect()
    }

    async fn submit_many(&self, burst: &Burst) -> Vec<TaskId> {
        let inputs: Vec<Json> = burst.scripts.iter().filter_map(|script| input(script).ok()).collect();
        let about = burst.about();
        let answer = self.queue.submit_many(&burst.kind, inputs, burst.options(), burst.when(), &about).await;
        let ids = answer.and_then(|ids| {
            let enough = ids.len() == burst.scripts.len();
            enough.then_some(ids).ok_or_else(|| Error::Internal("another number of ids than of inputs".into()))
        });
        let one = |(n, script)| self.submitted(script, ids.clone().map(|ids| ids[n]));
        burst.scripts.iter().enumerate().filter_map(one).collect()
    }

    async fn submit_graph(&self, burst: &Burst) -> Vec<TaskId> {
        let known: Vec<TaskId> = {
            let journal = self.world.journal.borrow();
            journal.submits.values().filter_map(|submit| submit.id.as_ref()?.parse().ok()).collect()
        };
        let nodes = burst.graph.iter().map(|node| {
            let earlier = node.known.and_then(|place| known.get(place % known.len().max(1)).copied());
            let after = node.after.iter().map(|node| Dependency::Node(*node));
            Node {
                kind: burst.kind.clone(),
                inputs: node.scripts.iter().filter_map(|script| input(script).ok()).collect(),
                options: burst.options(),
                when: node.delay.map_or(When::Now, When::After),
                about: burst.about(),
                after: after.chain(earlier.map(Dependency::Task)).collect(),
                on: node.on,
                results: None,
            }
        });
        let nodes: Vec<Node> = nodes.collect();
        let answer = self.queue.submit_graph(&nodes).await;
        // Those of the last submits may have been purged, or have too many that wait for them.
        let answer = answer.map_err(|error| match error {
            Error::NotFound(what) | Error::Invalid(what) => Error::Unavailable(what),
            error => error,
        });
        let scripts = burst.graph.iter().flat_map(|node| &node.scripts);
        let ids: Result<Vec<TaskId>, Error> = answer.map(|ids| ids.into_iter().flatten().collect());
        let one = |(n, script): (usize, &Script)| {
            let id = ids.clone().and_then(|ids| {
                let none = || Error::Internal("fewer ids than tasks".into());
                ids.get(n).copied().ok_or_else(none)
            });
            self.submitted(script, id)
        };
        scripts.enumerate().filter_map(one).collect()
    }

    async fn submit_keyed(&self, burst: &Burst, plan: &UniquePlan) -> Vec<TaskId> {
        let unique = Unique { key: Some(plan.key.clone()), window: plan.window, ..Unique::default() };
        let submits = burst.scripts.iter().map(|script| async {
            let (when, about) = (burst.when(), burst.about());
            let submission =
                Submission { options: burst.options(), when, about, ..Submission::new(&burst.kind, input(script)?) };
            self.queue.submit_unique(&submission, &unique).await
        });
        let answers = join_all(submits).await;
        let one = |(answer, script)| self.submitted_keyed(plan, script, answer);
        answers.into_iter().zip(&burst.scripts).filter_map(one).collect()
    }

    fn submitted_keyed(
        &self,
        plan: &UniquePlan,
        script: &Script,
        answer: Result<(TaskId, bool), Error>,
    ) -> Option<TaskId> {
        let detail = match &answer {
            Ok((id, created)) => format!("{} as {id}{}", script.label, if *created { "" } else { " before" }),
            Err(error) => format!("{}: {}", script.label, error.code()),
        };
        self.world.trace.event(&self.name, "submitted by key", &detail);
        let answer = match answer {
            Ok((id, created)) => Some((id, created)),
            Err(Error::Conflict(_)) => None,
            Err(Error::Unavailable(_)) => return None,
            Err(error) => {
                self.world.complain(&self.name, &format!("a submit of {} failed: {error}", script.label));
                return None;
            }
        };
        self.world.journal.borrow_mut().keyed.push(Keyed {
            key: plan.key.clone(),
            window: plan.window,
            label: script.label.clone(),
            answer: answer.map(|(id, created)| (id.to_string(), created)),
        });
        answer.map(|(id, _)| id)
    }

    fn submitted(&self, script: &Script, answer: Result<TaskId, Error>) -> Option<TaskId> {
        let detail = match &answer {
            Ok(id) => format!("{} as {id}", script.label),
            Err(error) => format!("{}: {}", script.label, error.code()),
        };
        self.world.trace.event(&self.name, if answer.is_ok() { "submitted" } else { "not submitted" }, &detail);
        if let Err(error) = &answer
            && !matches!(error, Error::Unavailable(_))
        {
            self.world.complain(&self.name, &format!("a submit of {} failed: {error}", script.label));
        }
        let submit = Submit { id: answer.as_ref().ok().map(ToString::to_string), at: self.world.store.now() };
        self.world.journal.borrow_mut().submits.insert(script.label.clone(), submit);
        answer.ok()
    }

    fn waited(&self, id: TaskId, answer: Result<TaskView, Error>) {
        match answer {
            Ok(view) => {
                let status = name_of(view.task.status);
                self.world.trace.event(&self.name, "result", &format!("{id} {status}"));
                self.world.journal.borrow_mut().seen.push((id.to_string(), status));
            }
            Err(Error::Timeout(_) | Error::Unavailable(_)) => {}
            Err(error) => self.world.complain(&self.name, &format!("waiting for {id} failed: {error}")),
        }
    }
}

fn input(script: &Script) -> Result<Json, Error> {
    let text = serde_json::to_string(script).map_err(|error| Error::Internal(error.to_string()))?;
    Json::parse(&text)
}

impl Burst {
    fn options(&self) -> Options {
        let retry = RetryPolicy {
            max_retries: self.max_retries,
            initial_ms: self.backoff_ms,
            max_ms: 10_000,
            ..RetryPolicy::default()
        };
        Options { timeout_ms: self.timeout_ms, priority: self.priority, retry, ..Options::default() }
    }

    fn when(&self) -> When {
        self.delay.map_or(When::Now, When::After)
    }

    fn about(&self) -> About {
        let tags = self.about.tag.iter().cloned().collect();
        let expiry = self.about.ttl.map(|ttl| When::After(self.delay.unwrap_or_default() + ttl));
        About { extras: Extras { tags, ..Extras::default() }, expiry }
    }
}
