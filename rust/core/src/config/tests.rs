use std::fs;
use std::path::PathBuf;

use pretty_assertions::assert_eq;
use proptest::prelude::*;

use super::*;

fn from(config: &EngineConfig, variables: &[(&str, &str)], cwd: &Path) -> Result<Resolved> {
    let env = |wanted: &str| {
        let found = variables.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| (*value).to_owned())
    };
    resolve(config, &env, cwd)
}

fn with_url(url: &str) -> Result<Target> {
    let config = EngineConfig { url: Some(url.to_owned()), ..EngineConfig::default() };
    from(&config, &[], Path::new("/work")).map(|resolved| resolved.target)
}

fn refusal(result: Result<impl std::fmt::Debug>) -> String {
    match result {
        Err(Error::Config(message)) => message,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn s3(bucket: &str, prefix: &str, region: Option<&str>, endpoint: Option<&str>) -> Target {
    Target::S3 {
        bucket: bucket.into(),
        prefix: prefix.into(),
        region: region.map(Into::into),
        endpoint: endpoint.map(Into::into),
    }
}

fn sqlite(path: &str) -> Target {
    Target::Sqlite { path: PathBuf::from(path) }
}

#[test]
fn nothing_configured_means_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let resolved = from(&EngineConfig::default(), &[("BUQUET_URL", ""), ("S3_BUCKET", "")], folder.path()).unwrap();
    assert_eq!(resolved.target, Target::Sqlite { path: folder.path().join(".buquet/buquet.db") });
    assert!(resolved.source.contains("default"), "{}", resolved.source);
}

#[test]
fn the_first_that_names_a_store_wins() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".buquet.toml"), "[default]\nurl = 'sqlite:a.db'\n[profiles.p]\nurl = 'sqlite:p.db'")
        .unwrap();
    let all = [("BUQUET_URL", "s3://from-url"), ("S3_BUCKET", "from-bucket"), ("BUQUET_PROFILE", "p")];
    let url = EngineConfig { url: Some("memory:".into()), ..EngineConfig::default() };
    let profile = EngineConfig { profile: Some("p".into()), ..EngineConfig::default() };
    let none = EngineConfig::default();
    let target = |config, variables| from(config, variables, folder.path()).unwrap().target;
    assert_eq!(target(&url, &all), Target::Memory);
    assert_eq!(target(&profile, &all), Target::Sqlite { path: folder.path().join("p.db") });
    assert_eq!(target(&none, &all), s3("from-url", "", None, None));
    assert_eq!(target(&none, &all[1..]), s3("from-bucket", "", None, None));
    assert_eq!(target(&none, &all[2..]), Target::Sqlite { path: folder.path().join("p.db") });
    assert_eq!(target(&none, &[]), Target::Sqlite { path: folder.path().join("a.db") });
}

#[test]
fn an_s3_url_is_taken_apart() {
    assert_eq!(with_url("s3://my-bucket").unwrap(), s3("my-bucket", "", None, None));
    assert_eq!(with_url("S3://my-bucket/").unwrap(), s3("my-bucket", "", None, None));
    assert_eq!(
        with_url("s3://my-bucket/a/b%20c/?region=eu-central-1&endpoint=http://127.0.0.1:9000/").unwrap(),
        s3("my-bucket", "a/b c", Some("eu-central-1"), Some("http://127.0.0.1:9000"))
    );
}

#[test]
fn a_sqlite_url_is_a_path() {
    assert_eq!(with_url("sqlite:q.db").unwrap(), sqlite("/work/q.db"));
    assert_eq!(with_url("sqlite:./a/q.db").unwrap(), sqlite("/work/./a/q.db"));
    assert_eq!(with_url("sqlite:/var/q 1.db").unwrap(), sqlite("/var/q 1.db"));
    assert_eq!(with_url("sqlite:///var/q.db").unwrap(), sqlite("/var/q.db"));
    let home = EngineConfig { url: Some("sqlite:~/q.db".into()), ..EngineConfig::default() };
    assert_eq!(from(&home, &[("HOME", "/home/me")], Path::new("/")).unwrap().target, sqlite("/home/me/q.db"));
}

#[test]
fn a_folder_stands_in_for_the_working_directory() {
    let there = tempfile::tempdir().unwrap();
    let config = |url: Option<&str>| EngineConfig {
        url: url.map(Into::into),
        folder: Some(there.path().to_owned()),
        ..EngineConfig::default()
    };
    let target = |url, variables: &[_]| from(&config(url), variables, Path::new("/work")).unwrap().target;
    let file = |name| Target::Sqlite { path: there.path().join(name) };
    assert_eq!(target(Some("sqlite:q.db"), &[]), file("q.db"));
    assert_eq!(target(None, &[("BUQUET_URL", "sqlite:v.db")]), file("v.db"));
    assert_eq!(target(None, &[]), file(".buquet/buquet.db"));
    fs::write(there.path().join(".buquet.toml"), "[default]\nurl = 'sqlite:t.db'").unwrap();
    assert_eq!(target(None, &[]), file("t.db"));
    let relative = EngineConfig { folder: Some("jobs".into()), ..EngineConfig::default() };
    assert!(refusal(from(&relative, &[], Path::new("/work")).map(|found| found.target)).contains("absolute"));
}

#[test]
fn a_wrong_url_is_refused_with_its_value_and_what_is_allowed() {
    for (url, problem) in [
        ("redis://localhost", "unknown scheme"),
        ("my-bucket", "no scheme"),
        ("", "no scheme"),
        ("s3:bucket", "names no bucket"),
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://bucket:9000", "port"),
        ("s3://bucket?regoin=x", "unknown parameter \"regoin\""),
        ("s3://bucket?region=a&region=b", "region twice"),
        ("s3://[", "malformed"),
        ("sqlite:", "names no file"),
        ("sqlite:folder/", "names no file"),
        ("sqlite://host/x.db", "has //"),
        ("sqlite::memory:", "use memory:"),
        ("sqlite:x.db?mode=ro", "characters"),
        ("memory:x", "after memory:"),
    ] {
        let message = refusal(with_url(url));
        assert!(message.contains(problem), "{url}: {message}");
        assert!(message.contains("sqlite:PATH") && message.contains("the url argument"), "{url}: {message}");
    }
    assert!(refusal(with_url("redis://localhost")).contains("redis://localhost"));
}

#[test]
fn parts_of_a_bucket_are_checked() {
    for url in ["s3://ab", "s3://-ab-", "s3://b%C3%BCcket", "s3://arn%3Aaws"] {
        assert!(refusal(with_url(url)).contains("is not the name of a bucket"), "{url}");
    }
    for url in ["s3://bucket/a//b", "s3://bucket/a%0Ab", "s3://bucket/%2E%2E%2Fx/a//b"] {
        assert!(refusal(with_url(url)).contains("cannot be a prefix"), "{url}");
    }
    assert!(refusal(with_url("s3://bucket?region=eu central")).contains("is not a region"));
    for endpoint in ["ftp://host", "127.0.0.1:9000", "http://", "https://host?x=1"] {
        assert!(
            refusal(with_url(&format!("s3://bucket?endpoint={}", endpoint.replace('?', "%3F")))).contains("endpoint")
        );
    }
}

#[test]
fn a_region_or_an_endpoint_is_refused_by_the_name_of_who_gives_it() {
    let (url, region) = (Some("s3://bucket".to_owned()), Some("a b".to_owned()));
    let odd = EngineConfig { url, region, ..EngineConfig::default() };
    let refused = refusal(from(&odd, &[], Path::new("/")));
    assert!(refused.starts_with("the region argument: \"a b\" is not a region"), "{refused}");
    for (variables, said) in [
        (vec![("BUQUET_ENDPOINT", "foo"), ("BUQUET_URL", "s3://bucket")], "BUQUET_ENDPOINT: the endpoint \"foo\""),
        (vec![("BUQUET_REGION", "a b"), ("BUQUET_URL", "s3://bucket")], "BUQUET_REGION: \"a b\" is not a region"),
        (vec![("S3_BUCKET", "bucket"), ("S3_ENDPOINT", "foo")], "S3_ENDPOINT: the endpoint \"foo\""),
        (vec![("S3_BUCKET", "bucket"), ("S3_REGION", "a b")], "S3_REGION: \"a b\" is not a region"),
    ] {
        let refused = refusal(from(&EngineConfig::default(), &variables, Path::new("/")));
        assert!(refused.starts_with(said), "{refused}");
    }
}

#[test]
fn what_does_not_count_may_be_wrong() {
    let (url, region) = (Some("s3://bucket".to_owned()), Some("eu-west-1".to_owned()));
    let config = EngineConfig { url, region, ..EngineConfig::default() };
    let resolved = from(&config, &[("BUQUET_REGION", "a b")], Path::new("/")).unwrap();
    assert_eq!(resolved.target, s3("bucket", "", Some("eu-west-1"), None));
}

#[test]
fn credentials_in_a_url_are_refused_and_not_repeated() {
    for url in [
        "s3://AKIAKEY:hunter2@bucket",
        "s3://hunter2@bucket/prefix",
        "s3://bucket?endpoint=https://AKIAKEY:hunter2@host",
        "s3://bucket?secret_key=hunter2",
        "postgres://me:hunter2@host/db",
        "s3://me:hunter2@bucket:99999999",
        "s3://AKIAKEY:huh?hunter2@bucket",
        "s3://AKIAKEY?hunter2@bucket",
        "https://AKIAKEY:huh#hunter2@host",
        "AKIAKEY:hunter2@bucket?x",
    ] {
        let message = refusal(with_url(url));
        assert!(!message.contains("hunter2") && !message.contains("AKIAKEY"), "{message}");
    }
}

#[test]
fn explicit_region_and_endpoint_are_stronger_than_all_others() {
    let config = EngineConfig {
        region: Some("us-west-2".into()),
        endpoint: Some("http://localhost:1".into()),
        ..EngineConfig::default()
    };
    let wanted = s3("bucket", "", Some("us-west-2"), Some("http://localhost:1"));
    let url = [("BUQUET_URL", "s3://bucket?region=eu-central-1&endpoint=http://other")];
    assert_eq!(from(&config, &url, Path::new("/")).unwrap().target, wanted);
    let bucket = [("S3_BUCKET", "bucket"), ("S3_REGION", "eu-central-1"), ("S3_ENDPOINT", "http://other")];
    assert_eq!(from(&config, &bucket, Path::new("/")).unwrap().target, wanted);
    assert!(refusal(from(&config, &[("BUQUET_URL", "memory:")], Path::new("/"))).contains("belong to s3: URLs"));
}

#[test]
fn the_variables_of_a_bucket_are_read() {
    let variables =
        [("S3_BUCKET", "bucket"), ("S3_REGION", "eu-central-1"), ("S3_ENDPOINT", "http://h:1"), ("S3_PREFIX", "/a/b/")];
    let resolved = from(&EngineConfig::default(), &variables, Path::new("/")).unwrap();
    assert_eq!(resolved.target, s3("bucket", "a/b", Some("eu-central-1"), Some("http://h:1")));
    assert_eq!(resolved.source, "S3_BUCKET");
}

#[test]
fn the_endpoint_of_other_aws_tools_is_used_where_none_is_named() {
    let aws = [("AWS_ENDPOINT_URL", "http://general"), ("AWS_ENDPOINT_URL_S3", "http://special")];
    let target = |url: &str, variables| {
        let config = EngineConfig { url: Some(url.into()), ..EngineConfig::default() };
        from(&config, variables, Path::new("/")).unwrap().target
    };
    assert_eq!(target("s3://bucket", &aws), s3("bucket", "", None, Some("http://special")));
    assert_eq!(target("s3://bucket", &aws[..1]), s3("bucket", "", None, Some("http://general")));
    assert_eq!(target("s3://bucket?endpoint=http://own", &aws), s3("bucket", "", None, Some("http://own")));
}

#[test]
fn a_file_is_found_in_the_folders_above_and_its_paths_begin_there() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    let path = folder.path().join(".buquet.toml");
    fs::write(&path, "[default]\nurl = 'sqlite:q.db'\n[profiles.prod]\nurl = 's3://bucket'\nregion = 'eu-west-1'")
        .unwrap();
    let resolved = from(&EngineConfig::default(), &[], &deep).unwrap();
    assert_eq!(resolved.target, Target::Sqlite { path: folder.path().join("q.db") });
    assert_eq!(resolved.source, format!("{} [default]", path.display()));
    let prod = from(&EngineConfig::default(), &[("BUQUET_PROFILE", "prod")], &deep).unwrap();
    assert_eq!(prod.target, s3("bucket", "", Some("eu-west-1"), None));
    assert_eq!(prod.source, format!("{} [profiles.prod]", path.display()));
}

#[test]
fn a_profile_that_is_not_there_is_refused_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let named = [("BUQUET_PROFILE", "staging")];
    let message = refusal(from(&EngineConfig::default(), &named, folder.path()));
    assert!(message.contains("staging") && message.contains("no .buquet.toml"), "{message}");
    fs::write(folder.path().join(".buquet.toml"), "[profiles.prod]\nurl = 'memory:'").unwrap();
    let message = refusal(from(&EngineConfig::default(), &named, folder.path()));
    assert!(message.contains("it has: prod"), "{message}");
    let both = EngineConfig { url: Some("memory:".into()), profile: Some("prod".into()), ..EngineConfig::default() };
    assert!(refusal(from(&both, &[], folder.path())).contains("give one of them"));
}

#[test]
fn a_file_with_a_mistake_is_refused_with_the_line_and_without_its_text() {
    let folder = tempfile::tempdir().unwrap();
    for (text, problem) in [
        ("[default]\nurl = 'memory:'\nsecret_key = 'hunter2'", "line 3: there is no \"secret_key\" in [default]"),
        ("[default]\nregion = 'hunter2'", "url"),
        ("[defualt]\nurl = 'memory:'", "defualt"),
        ("[default\nurl = 'hunter2'", "line 1"),
        ("default = 'hunter2'", "line 1"),
    ] {
        fs::write(folder.path().join(".buquet.toml"), text).unwrap();
        let message = refusal(from(&EngineConfig::default(), &[], folder.path()));
        assert!(message.contains(problem) && message.contains(".buquet.toml, line "), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn unknown_fields_of_the_configuration_are_refused() {
    assert!(serde_json::from_str::<EngineConfig>(r#"{"url": "memory:", "bucket": "x"}"#).is_err());
    assert_eq!(serde_json::from_str::<EngineConfig>("{}").unwrap(), EngineConfig::default());
}

proptest! {
    #[test]
    fn no_text_panics_and_no_user_part_is_repeated(text in "\\PC{0,60}", secret in "[a-z]{12}") {
        drop(with_url(&text));
        let url = format!("s3://user:{secret}@{text}");
        if let Err(error) = with_url(&url) {
            prop_assert!(text.contains(&secret) || !error.to_string().contains(&secret), "{}", error);
        }
    }
}

#[test]
fn the_default_store_is_found_upwards_like_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("shop/orders");
    fs::create_dir_all(&inner).unwrap();
    fs::create_dir(folder.path().join("shop/.buquet")).unwrap();
    let target = |cwd: &Path| from(&EngineConfig::default(), &[], cwd).unwrap().target;
    let found = Target::Sqlite { path: folder.path().join("shop/.buquet/buquet.db") };
    assert_eq!((target(&inner), target(&folder.path().join("shop"))), (found.clone(), found));
    assert_eq!(target(folder.path()), Target::Sqlite { path: folder.path().join(".buquet/buquet.db") });
}

#[test]
fn a_variable_that_is_nearly_one_of_ours_is_noticed() {
    let said = |name: &str| misspelt(std::iter::once(name.to_owned()));
    let [message] = said("BUQUET_WORKER_CONCURENCY").try_into().unwrap();
    assert!(
        message.contains("BUQUET_WORKER_CONCURENCY") && message.contains("\"BUQUET_WORKER_CONCURRENCY\""),
        "{message}"
    );
    assert_eq!(said("BUQUET_ULR").len(), 1);
    for fine in ["BUQUET_URL", "BUQUET_WORKER_CONCURRENCY", "BUQUET_FEATURES", "BUQUET_TEST_S3", "OTHER_URL"] {
        assert_eq!(said(fine), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn a_name_that_no_bucket_on_aws_has_is_refused_at_once() {
    for name in ["My_Bucket", "my_bucket", "MyBucket", "a..b", "192.168.0.1"] {
        assert!(refusal(with_url(&format!("s3://{name}"))).contains(name), "{name}");
        assert!(with_url(&format!("s3://{name}?endpoint=http://localhost:9000")).is_ok(), "{name}");
    }
    assert!(with_url("s3://my.bucket-1").is_ok());
}
