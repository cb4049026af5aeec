use std::fs;

use pretty_assertions::assert_eq;

use std::time::Duration;

use super::*;
use crate::store::StoreKind;

fn from(config: &EngineConfig, variables: &[(&str, &str)], cwd: &Path) -> Result<Resolved> {
    let env = |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
    resolve(config, &env, cwd)
}

fn in_memory() -> EngineConfig {
    EngineConfig { url: Some("memory:".into()), ..EngineConfig::default() }
}

fn setting(resolved: &Resolved, name: &str) -> Setting {
    resolved.options.iter().find(|setting| setting.name == name).unwrap().clone()
}

fn refusal(result: Result<Resolved>) -> String {
    match result {
        Err(Error::Config(message)) => message,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn with_file(text: &str, config: &EngineConfig, variables: &[(&str, &str)]) -> Result<Resolved> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".buquet.toml"), text).unwrap();
    from(config, variables, folder.path())
}

#[test]
fn an_argument_is_stronger_than_a_variable_a_variable_than_a_file_and_a_file_than_the_default() {
    let file = "[default.worker]\nconcurrency = 3";
    let variable = [("BUQUET_WORKER_CONCURRENCY", "4")];
    let mut given = in_memory();
    given.options.insert("worker.concurrency".into(), 5.into());
    let told = |config: &EngineConfig, file, variables: &[(&str, &str)]| {
        let setting = setting(&with_file(file, config, variables).unwrap(), "worker.concurrency");
        (setting.value, setting.source)
    };
    assert_eq!(told(&given, file, &variable), (Some(Value::Count(5)), "the options argument".into()));
    assert_eq!(told(&in_memory(), file, &variable), (Some(Value::Count(4)), "BUQUET_WORKER_CONCURRENCY".into()));
    let (value, source) = told(&in_memory(), file, &[]);
    assert_eq!(value, Some(Value::Count(3)));
    assert!(source.ends_with(".buquet.toml [default]"), "{source}");
    assert_eq!(
        told(&in_memory(), "", &[("BUQUET_WORKER_CONCURRENCY", "")]),
        (Some(Value::Count(20)), "default".into())
    );
}

#[test]
fn a_profile_brings_its_own_options() {
    let file =
        "[default.worker]\nconcurrency = 3\n[profiles.big]\nurl = 'memory:'\n[profiles.big.worker]\ndrain = '5m'";
    let resolved = with_file(file, &EngineConfig::default(), &[("BUQUET_PROFILE", "big")]).unwrap();
    assert_eq!(resolved.options.span(Key::Drain), Duration::from_mins(5));
    assert_eq!(resolved.options.count(Key::Concurrency), Some(20), "profiles share nothing");
    assert_eq!(resolved.profile, Some(("big".into(), "BUQUET_PROFILE".into())));
    let resolved = with_file(file, &in_memory(), &[]).unwrap();
    assert_eq!(resolved.options.count(Key::Concurrency), Some(3), "also where the store is named otherwise");
}

#[test]
fn every_option_has_a_variable_a_default_in_its_range_and_is_read_back_as_it_is_shown() {
    for kind in [StoreKind::S3, StoreKind::Sqlite] {
        for option in OPTIONS {
            assert!(option.variable().starts_with("BUQUET_"));
            let Some(default) = option.default(kind) else { continue };
            let shown = default.to_string();
            assert_eq!(read(option, &Written::Text(shown), "a test").unwrap(), default, "{}", option.name);
        }
    }
}

#[test]
fn durations_are_seconds_or_text() {
    for (written, expected) in
        [("'90s'", 90_000), ("90", 90_000), ("60.5", 60_500), ("'2m'", 120_000), ("'1h'", 3_600_000)]
    {
        let resolved = with_file(&format!("[default.engine]\nstale = {written}"), &in_memory(), &[]).unwrap();
        assert_eq!(resolved.options.span(Key::Stale).as_millis(), expected, "{written}");
    }
    assert_eq!(span_text(Duration::from_millis(5_400_250)), "1h30m250ms");
    assert_eq!(span_text(Duration::ZERO), "0s");
}

#[test]
fn dangerous_values_are_refused_with_the_reason() {
    for (variable, value, reason) in [
        ("BUQUET_ENGINE_HEARTBEAT", "20s", "living workers would lose their tasks"),
        ("BUQUET_ENGINE_STALE", "20s", "living workers would lose their tasks"),
        ("BUQUET_ENGINE_FULL_LOOK", "1h", "at least once a minute"),
        ("BUQUET_TASK_LONGEST_BACKOFF", "10ms", "cannot be shorter than the first"),
        ("BUQUET_WORKER_CONCURRENCY", "0", "1 to 20000"),
        ("BUQUET_WORKER_CONCURRENCY", "many", "no whole number"),
        ("BUQUET_WORKER_LOG_LEVEL", "loud", "debug, info"),
        ("BUQUET_TASK_TIMEOUT", "soon", "no duration"),
        ("BUQUET_TASK_PRIORITY", "-1", "0 to 9"),
    ] {
        let message = refusal(from(&in_memory(), &[(variable, value)], Path::new("/")));
        assert!(message.contains(reason) && message.contains(value), "{variable}: {message}");
        assert!(message.contains(variable) || message.contains("backoff"), "{message}");
    }
    let s3 = EngineConfig { url: Some("s3://bucket".into()), ..EngineConfig::default() };
    let watch = [("BUQUET_ENGINE_BELL_WATCH", "5ms")];
    assert!(refusal(from(&s3, &watch, Path::new("/"))).contains("$10 a month"));
    assert!(from(&in_memory(), &watch, Path::new("/")).is_ok());
}

#[test]
fn whichever_values_two_processes_have_three_heartbeats_fit() {
    let range = |key| match OPTIONS.iter().find(|option| option.key == key).unwrap().takes {
        Takes::Span(least, most) => (least, most),
        other => panic!("{other:?}"),
    };
    assert!(range(Key::Stale).0 >= range(Key::Heartbeat).1 * 3);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    for (file, line, said) in [
        ("[default.worker]\nconcurency = 3", 2, "did you mean \"concurrency\"?"),
        ("[default]\nconcurrency = 3", 2, "it belongs in [default.worker]"),
        ("[profiles.p]\nurl = 'memory:'\n[profiles.p.engine]\nconcurrency = 3", 4, "it belongs in [profiles.p.worker]"),
        ("[default.wroker]\nconcurrency = 3", 1, "did you mean \"worker\"?"),
        ("\n[defualt]\n", 2, "did you mean \"default\"?"),
        ("[default]\nurll = 'memory:'", 2, "did you mean \"url\"?"),
        ("[default]\nworker = 3", 2, "is no table"),
        ("[default.worker]\n\nconcurrency = 'many'", 3, "no whole number"),
        ("[default.worker]\nconcurrency = true", 2, "boolean"),
    ] {
        let message = refusal(with_file(file, &in_memory(), &[]));
        assert!(message.contains(&format!("line {line}")) && message.contains(said), "{file}: {message}");
    }
    let mut given = in_memory();
    given.options.insert("worker.concurency".into(), 5.into());
    assert!(refusal(from(&given, &[], Path::new("/"))).contains("did you mean \"worker.concurrency\"?"));
}

#[test]
fn region_and_endpoint_have_variables_that_a_database_takes_no_notice_of() {
    let variables = [("BUQUET_REGION", "eu-west-1"), ("BUQUET_ENDPOINT", "http://h:1"), ("S3_BUCKET", "bucket")];
    let resolved = from(&EngineConfig::default(), &variables, Path::new("/")).unwrap();
    let Target::S3 { region, endpoint, .. } = &resolved.target else { panic!("{resolved:?}") };
    assert_eq!((region.as_deref(), endpoint.as_deref()), (Some("eu-west-1"), Some("http://h:1")));
    assert_eq!(resolved.named.region.as_deref(), Some("BUQUET_REGION"));
    assert!(from(&in_memory(), &variables, Path::new("/")).is_ok());
    let own = [("S3_BUCKET", "bucket"), ("S3_REGION", "eu-west-1"), ("AWS_ENDPOINT_URL", "http://h:1")];
    let named = from(&EngineConfig::default(), &own, Path::new("/")).unwrap().named;
    assert_eq!(named, Named { region: Some("S3_REGION".into()), endpoint: Some("AWS_ENDPOINT_URL".into()) });
}

#[test]
fn what_is_shown_has_every_option_and_no_secret() {
    let s3 = EngineConfig { url: Some("s3://bucket/jobs?region=eu-west-1".into()), ..EngineConfig::default() };
    let resolved = from(&s3, &[], Path::new("/")).unwrap();
    let secret = |name: &str| Some(format!("hunter2 in {name}"));
    let shown = serde_json::to_string(&Shown::of(&resolved, &secret)).unwrap();
    assert!(!shown.contains("hunter2"), "{shown}");
    for part in ["\"s3://bucket/jobs\"", "\"eu-west-1\"", "\"worker.drain\"", "AWS_ACCESS_KEY_ID", "\"25s\""] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_profile_is_missed_only_where_it_would_count() {
    let variables = [("BUQUET_URL", "memory:"), ("BUQUET_PROFILE", "prod")];
    assert!(from(&EngineConfig::default(), &variables, Path::new("/")).is_ok(), "no file here");
    let message = refusal(with_file("[profiles.other]\nurl = 'memory:'", &EngineConfig::default(), &variables));
    assert!(message.contains("it has: other"), "{message}");
    let message = refusal(with_file("[profiles.prod.worker]\ndrain = 1", &EngineConfig::default(), &variables[1..]));
    assert!(message.contains("has no url"), "{message}");
}
