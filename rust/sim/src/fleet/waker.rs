//! Somebody who sends signals to tasks that wait for them, and wakes them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::id::TaskId;
use buquet_core::record::{BatchRecord, TaskStatus, Waking};
use tokio::time::sleep;

use super::{Living, World, open};
use crate::journal::Signals;
use crate::scenario::{Burst, ProcessPlan};
use crate::script::Script;

/// Wakes that fail because the network does.
const PATIENCE: usize = 5;
/// Between two looks at who was never woken.
const LOOK: Duration = Duration::from_secs(20);

impl Living {
    /// Notes how many signals the tasks of a burst wait for.
    pub(super) fn expect_signals(&self, burst: &Burst) {
        let mut journal = self.world.journal.borrow_mut();
        for script in burst.scripts.iter().filter(|script| script.signals > 0) {
            journal.signals.entry(script.label.clone()).or_default().needed = script.signals;
        }
    }

    /// Sends the signals that the tasks of a burst wait for, one after the other.
    pub(super) async fn send_signals(&self, burst: &Burst) {
        for after in &burst.signals {
            sleep(*after).await;
            self.store.resumed().await;
            for script in burst.scripts.iter().filter(|script| script.signals > 0) {
                let id = self.world.journal.borrow().submits.get(&script.label).and_then(|submit| submit.id.clone());
                if let Some(id) = id.and_then(|id| id.parse().ok()) {
                    self.signal(&script.label, id).await;
                }
            }
        }
    }

    /// Sends one signal, and wakes its task.
    async fn signal(&self, label: &str, id: TaskId) {
        let sent = {
            let mut journal = self.world.journal.borrow_mut();
            let signals = journal.signals.entry(label.to_owned()).or_default();
            signals.sent += 1;
            signals.sent
        };
        for _ in 0..PATIENCE {
            match self.queue.wake(&[id]).await {
                Ok(woken) => return self.acknowledged(label, id, sent, woken.first().copied()),
                Err(Error::Unavailable(_)) => sleep(Duration::from_secs(1)).await,
                Err(error) => return self.world.complain(&self.name, &format!("{id} could not be woken: {error}")),
            }
        }
    }

    fn acknowledged(&self, label: &str, id: TaskId, sent: u32, woken: Option<Waking>) {
        self.world.trace.event(&self.name, "signalled", &format!("{label} {id} {woken:?}"));
        let mut journal = self.world.journal.borrow_mut();
        let signals = journal.signals.entry(label.to_owned()).or_default();
        signals.acknowledged = signals.acknowledged.max(sent);
    }

    /// Sends what whoever was to send it could not, because it died: those signals that nobody was told of.
    async fn send_forgotten(&self) {
        let forgotten: BTreeMap<String, Signals> = {
            let journal = self.world.journal.borrow();
            let is_forgotten = |signals: &Signals| signals.sent.min(signals.acknowledged) < signals.needed;
            let signals = journal.signals.iter().filter(|(_, signals)| is_forgotten(signals));
            signals.map(|(label, signals)| (label.clone(), *signals)).collect()
        };
        for (label, id) in self.waiting() {
            if let Some(signals) = forgotten.get(&label) {
                let missing = signals.needed.saturating_sub(signals.sent).max(1);
                for _ in 0..missing {
                    self.signal(&label, id).await;
                }
            }
        }
    }

    /// The tasks that wait, by their labels.
    fn waiting(&self) -> Vec<(String, TaskId)> {
        let objects = self.world.store.objects();
        let records = objects.iter().filter(|(key, _)| key.starts_with("tasks/"));
        let records = records.filter_map(|(key, object)| BatchRecord::decode(key, &object.body).ok());
        let tasks = |record: BatchRecord| {
            let id = record.id;
            let waits = record.tasks.into_iter().filter(|task| task.status == TaskStatus::Waiting);
            waits.filter_map(move |task| {
                let script: Script = serde_json::from_str(task.input.text()).ok()?;
                Some((script.label, id.task(task.n)))
            })
        };
        records.flat_map(tasks).collect()
    }
}

/// Once the network is calm: sees to it that every task that waits for signals gets them, if whoever was to send them died.
pub async fn run_last_waker(world: Rc<World>) {
    let plan = ProcessPlan::named("last waker");
    let store = world.network.connect(&plan.name);
    let Some(queue) = open(&world, &plan.name, &store, 0).await else { return };
    let living = Living { world: Rc::clone(&world), name: plan.name, store, queue };
    let send = async {
        loop {
            sleep(LOOK).await;
            living.send_forgotten().await;
        }
    };
    tokio::select! {
        biased;
        () = world.end.wait() => {}
        () = send => {}
    }
    living.queue.flush().await;
}
