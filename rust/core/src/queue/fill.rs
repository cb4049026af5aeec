//! Handing out inputs and outputs that lie in objects of their own as if they lay in the record.

use futures::StreamExt;
use futures::stream;

use super::{Queue, READS_IN_FLIGHT, TaskView};
use crate::id::RecordId;
use crate::limits;
use crate::payload::read_json;
use crate::record::{Json, PayloadRef};

/// An input or output that is wanted.
struct Wanted {
    place: usize,
    is_input: bool,
    owner: RecordId,
    name: PayloadRef,
}

impl Queue {
    /// Reads the inputs and outputs of these tasks that lie elsewhere, as far as they are small enough. One that cannot
    /// be read is left out: whoever needs it reads it by its name and learns why.
    pub async fn fill(&self, mut tasks: Vec<Option<TaskView>>) -> Vec<Option<TaskView>> {
        let reads = stream::iter(wanted(&tasks)).map(|wanted| async move {
            let json = read_json(self.bucket(), wanted.owner, &wanted.name).await.ok();
            (wanted, json)
        });
        let found: Vec<(Wanted, Option<Json>)> = reads.buffer_unordered(READS_IN_FLIGHT).boxed().collect().await;
        for (wanted, json) in found {
            if let (Some(Some(view)), Some(json)) = (tasks.get_mut(wanted.place), json) {
                if wanted.is_input {
                    view.task.input = json;
                } else {
                    view.task.output = Some(json);
                }
            }
        }
        tasks
    }
}

fn wanted(tasks: &[Option<TaskView>]) -> Vec<Wanted> {
    let mut left = u64::try_from(limits::ANSWER_BYTES).unwrap_or(u64::MAX);
    let mut wanted = Vec::new();
    for (place, view) in tasks.iter().enumerate() {
        let Some(view) = view else { continue };
        // Results first: they are what most callers read a task for.
        for (is_input, name) in [(false, view.task.output_ref.as_deref()), (true, view.task.input_ref.as_deref())] {
            let Some(name) = name.filter(|name| is_small(name) && name.bytes <= left) else { continue };
            left -= name.bytes;
            wanted.push(Wanted { place, is_input, owner: view.id.record(), name: name.clone() });
        }
    }
    wanted
}

/// Whether JSON of this length is handed out as if it lay in the record.
pub fn is_small(name: &PayloadRef) -> bool {
    name.pieces == 1 && usize::try_from(name.bytes).is_ok_and(|bytes| bytes <= limits::PAYLOAD_BYTES)
}
