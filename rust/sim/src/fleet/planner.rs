//! Somebody who creates a schedule and disables it in the end.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::queue::PutSchedule;
use buquet_core::record::{Extra, Json, Options};
use buquet_core::schedule::{CatchUp, Definition, Overlap};
use buquet_core::{Error, Result};
use tokio::time::{Instant, sleep, sleep_until};

use super::{World, open};
use crate::schedules::{CatchUpPlan, SchedulePlan};

/// The pause before what could not be stored is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs a schedule from its creation to its end.
pub async fn run_planner(world: Rc<World>, plan: SchedulePlan) {
    let (started, done) = (Instant::now(), Producing::new(&world));
    sleep(plan.created_after).await;
    let store = world.network.connect(&plan.name);
    let Some(queue) = open(&world, &plan.name, &Arc::clone(&store), 0).await else { return };
    if let Ok(definition) = plan.definition() {
        let create = || {
            let put =
                PutSchedule { name: plan.name.clone(), definition: definition.clone(), enabled: None, replace: false };
            queue.put_schedule(put)
        };
        until_stored(&world, &plan.name, "created", create).await;
        sleep_until(started + plan.disabled_after).await;
        until_stored(&world, &plan.name, "disabled", || queue.enable_schedule(&plan.name, false)).await;
    }
    let at = world.store.now();
    world.journal.borrow_mut().schedules.insert(plan.name.clone(), at);
    queue.flush().await;
    drop(done);
}

/// Tries until it is acknowledged.
async fn until_stored<T, F: Future<Output = Result<T>>>(
    world: &World,
    name: &str,
    what: &'static str,
    store: impl Fn() -> F,
) {
    loop {
        match store().await {
            Ok(_) => return world.trace.event(name, what, ""),
            Err(Error::Unavailable(_)) => sleep(PAUSE).await,
            Err(error) => return world.complain(name, &format!("a schedule could not be {what}: {error}")),
        }
    }
}

/// Counts as a producer for as long as it lives.
struct Producing(Rc<World>);

impl Producing {
    fn new(world: &Rc<World>) -> Self {
        world.producing.set(world.producing.get() + 1);
        Self(Rc::clone(world))
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        self.0.producing.set(self.0.producing.get() - 1);
    }
}

impl SchedulePlan {
    fn definition(&self) -> Result<Definition> {
        let input = serde_json::to_string(&self.script).map_err(|error| Error::Internal(error.to_string()))?;
        let (overlap, catch_up) = match self.catch_up {
            CatchUpPlan::All => (Overlap::Allow, CatchUp::All),
            CatchUpPlan::LatestUnlessRunning => (Overlap::Skip, CatchUp::Latest),
            CatchUpPlan::LatestInTurn => (Overlap::Wait, CatchUp::Latest),
        };
        Ok(Definition {
            cron: None,
            timezone: None,
            every_ms: Some(self.every_ms),
            kind: self.kind.clone(),
            input: Json::parse(&input)?,
            options: Options { timeout_ms: 120_000, ..Options::default() },
            ttl_ms: None,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            overlap,
            catch_up,
            catch_up_limit: 1_000,
            jitter_ms: 0,
            extra: Extra::new(),
        })
    }
}
