//! Schemas of task types: published once, enforced on every submit, free where there are none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use buquet_core::Error;
use buquet_core::entropy::Entropy;
use buquet_core::queue::{About, PutSchedule, Queue, Schemas, Settings, Shown, Submission, When};
use buquet_core::record::{Json, Options};
use buquet_core::schedule::Definition;
use buquet_core::store::StoreKind;
use buquet_core::store::faulty::{FaultPlan, Network, Observer, Unobserved};
use buquet_core::store::memory::MemoryStore;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::queue::schedules::crew::every;
use crate::queue::support::{Counts, queue_on};

async fn submit(queue: &Queue, input: &Value) -> Result<(), Error> {
    let input = Json::parse(&input.to_string()).unwrap();
    let options = Options::default();
    queue.submit(Submission { options, ..Submission::new("greet", input) }).await.map(drop)
}

async fn publish(queue: &Queue, schema: Value) -> bool {
    let schemas = Schemas { input: Some(schema), ..Schemas::default() };
    queue.put_schemas(BTreeMap::from([("greet".to_owned(), schemas)])).await.unwrap()
}

fn named() -> Value {
    json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]})
}

/// A queue whose reads are counted, those of the bell left out: who has made work reads it before each touch.
async fn counted(store: &Arc<MemoryStore>, seed: u64) -> (Queue, impl Fn() -> usize) {
    let counts = Arc::new(Counts::default());
    let observer: Arc<dyn Observer> = Arc::clone(&counts) as _;
    let network = Network::new(Arc::clone(store) as _, seed, FaultPlan::calm(), observer);
    let settings = Settings::for_store(StoreKind::S3);
    let queue = Queue::open(network.connect("a process"), Entropy::seeded(seed), settings).await.unwrap();
    (queue, move || counts.of("get") - counts.of("get bell.json"))
}

#[tokio::test(start_paused = true)]
async fn an_input_that_does_not_fit_is_refused_before_anything_is_stored() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    assert!(publish(&queue, named()).await);
    submit(&queue, &json!({"name": "Ada"})).await.unwrap();
    let before = store.keys("tasks/").len();
    let Err(Error::Invalid(message)) = submit(&queue, &json!({"name": 7})).await else { panic!("it was stored") };
    assert!(message.contains("at /name: 7 is not of type \"string\""), "{message}");
    let inputs = [json!({"name": "a"}), json!({"nam": "b"})].map(|input| Json::parse(&input.to_string()).unwrap());
    let refused = queue.submit_many("greet", inputs.to_vec(), Options::default(), When::Now, &About::default()).await;
    assert!(refused.unwrap_err().to_string().contains("input number 1"));
    queue.submit_many("other", inputs.to_vec(), Options::default(), When::Now, &About::default()).await.unwrap();
    assert_eq!(store.keys("tasks/").len(), before + 1, "only what has no schema, or fits");
}

#[tokio::test(start_paused = true)]
async fn what_only_its_front_can_read_once_it_is_stored_is_checked_before() {
    let queue = queue_on(&Arc::new(MemoryStore::new()), 1).await;
    let check = async |kind: &str, inputs: &[Value]| {
        let inputs: Vec<_> = inputs.iter().map(|input| Json::parse(&input.to_string()).unwrap()).collect();
        queue.hold_to_schema(kind, &inputs, Shown::Places).await
    };
    assert!(!check("greet", &[]).await.unwrap(), "there are no schemas");
    publish(&queue, named()).await;
    assert!(check("greet", &[]).await.unwrap());
    assert!(check("greet", &[json!({"name": "Ada"})]).await.unwrap());
    assert!(!check("other", &[json!({"nam": "Ada"})]).await.unwrap());
    let refused = check("greet", &[json!({"name": "Ada"}), json!({"name": ["hush"]})]).await.unwrap_err().to_string();
    assert!(refused.contains("input number 1") && refused.contains("at /name"), "{refused}");
    assert!(!refused.contains("hush"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_whose_input_does_not_fit_is_refused() {
    let queue = queue_on(&Arc::new(MemoryStore::new()), 1).await;
    publish(&queue, named()).await;
    let put = |input: Value| PutSchedule {
        name: "daily".into(),
        definition: Definition { kind: "greet".into(), input: Json::parse(&input.to_string()).unwrap(), ..every(10) },
        enabled: None,
        replace: false,
    };
    let refused = queue.put_schedule(put(json!({"nam": "Ada"}))).await.unwrap_err();
    assert!(refused.to_string().contains("\"name\" is a required property"), "{refused}");
    queue.put_schedule(put(json!({"name": "Ada"}))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_process_is_held_to_them_and_learns_of_changes_within_a_minute() {
    let store = Arc::new(MemoryStore::new());
    let publisher = queue_on(&store, 1).await;
    publish(&publisher, named()).await;
    let other = queue_on(&store, 2).await;
    submit(&other, &json!({})).await.unwrap_err();
    publish(&publisher, json!({"type": "object"})).await;
    submit(&other, &json!({})).await.unwrap_err();
    sleep(Duration::from_secs(61)).await;
    submit(&other, &json!({})).await.unwrap();
    assert!(publisher.delete_schema("greet").await.unwrap());
    assert!(!publisher.delete_schema("greet").await.unwrap());
    sleep(Duration::from_secs(61)).await;
    submit(&other, &json!(["anything"])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_queue_without_schemas_pays_nothing_and_one_with_them_a_get_a_minute() {
    let store = Arc::new(MemoryStore::new());
    let (queue, gets) = counted(&store, 1).await;
    let before = gets();
    for _ in 0..3 {
        submit(&queue, &json!({"name": "Ada"})).await.unwrap();
        sleep(Duration::from_secs(61)).await;
    }
    assert_eq!(gets(), before);
    publish(&queue, named()).await;
    let (other, gets) = counted(&store, 2).await;
    let before = gets();
    let ada = json!({"name": "Ada"});
    let many = (0..100).map(|_| submit(&other, &ada)).map(Box::pin);
    futures::future::join_all(many).await.into_iter().collect::<Result<Vec<()>, _>>().unwrap();
    assert_eq!(gets(), before + 1, "many at once read them once");
    sleep(Duration::from_secs(61)).await;
    submit(&other, &json!({"name": "Ada"})).await.unwrap();
    assert_eq!(gets(), before + 2);
    assert_eq!(other.usage().requests.not_modified, 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_older_than_the_first_schema_learns_of_it_in_minutes() {
    let store = Arc::new(MemoryStore::new());
    let ((old, gets), publisher) = (counted(&store, 1).await, queue_on(&store, 2).await);
    submit(&old, &json!({})).await.unwrap();
    publish(&publisher, named()).await;
    let before = gets();
    for _ in 0..10 {
        sleep(Duration::from_secs(31)).await;
        let _ = submit(&old, &json!({"name": "Ada"})).await;
    }
    submit(&old, &json!({})).await.unwrap_err();
    assert_eq!(gets(), before + 2, "the marker, then the schemas");
}

#[tokio::test(start_paused = true)]
async fn publishing_the_same_again_writes_nothing_and_what_others_published_stays() {
    let store = Arc::new(MemoryStore::new());
    let queue = queue_on(&store, 1).await;
    publish(&queue, named()).await;
    let puts = queue.usage().requests.put;
    assert!(!publish(&queue, named()).await);
    assert_eq!(queue.usage().requests.put, puts);
    let others = (0..8_u64).map(|n| {
        let store = Arc::clone(&store);
        async move {
            let schemas = Schemas { input: Some(named()), ..Schemas::default() };
            queue_on(&store, 100 + n).await.put_schemas(BTreeMap::from([(format!("t{n}"), schemas)])).await.unwrap()
        }
    });
    futures::future::join_all(others.map(Box::pin)).await;
    assert_eq!(queue.schemas().await.unwrap().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_publishing_is_seen_through() {
    let store = Arc::new(MemoryStore::new());
    drop(queue_on(&store, 1).await);
    let plan = FaultPlan { lost_answer: 0.3, ..FaultPlan::calm() };
    let network = Network::new(Arc::<MemoryStore>::clone(&store), 7, plan, Arc::new(Unobserved));
    let settings = Settings::for_store(StoreKind::S3);
    let queue = Queue::open(network.connect("p"), Entropy::seeded(3), settings).await.unwrap();
    publish(&queue, named()).await;
    submit(&queue, &json!({})).await.unwrap_err();
    assert_eq!(queue.schemas().await.unwrap().len(), 1);
}
