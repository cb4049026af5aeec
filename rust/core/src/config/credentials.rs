//! Where the credentials for S3 come from, in the order in which the AWS chain looks. Never what they are.

use serde::Serialize;

/// Who the AWS chain will ask first, as far as the environment tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credentials {
    /// The kind of source.
    pub kind: &'static str,
    /// The same for people, with names of variables and profiles and without their secrets.
    pub source: String,
}

impl Credentials {
    /// Judges by which variables are set.
    #[must_use]
    pub fn by(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let source = |kind, source: &str| Self { kind, source: source.to_owned() };
        if set("AWS_ACCESS_KEY_ID").is_some() && set("AWS_SECRET_ACCESS_KEY").is_some() {
            let token = if set("AWS_SESSION_TOKEN").is_some() { " and AWS_SESSION_TOKEN" } else { "" };
            return source("environment", &format!("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY{token} are set"));
        }
        if let Some(profile) = set("AWS_PROFILE") {
            return source(
                "profile",
                &format!("the profile {profile:?} of the AWS configuration, which AWS_PROFILE names"),
            );
        }
        if set("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() {
            return source("web_identity", "AWS_WEB_IDENTITY_TOKEN_FILE is set, unless ~/.aws has a default profile");
        }
        for name in ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"] {
            if set(name).is_some() {
                return source("container", &format!("{name} is set, unless ~/.aws has a default profile"));
            }
        }
        for (there, lacks) in
            [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")]
        {
            if set(there).is_some() {
                return source(
                    "default",
                    &format!(
                        "{there} is set without {lacks}, so it does not count: the default profile of ~/.aws, else the role of \
                         the container or machine"
                    ),
                );
            }
        }
        source(
            "default",
            "no variable is set: the default profile of ~/.aws, else the role of the container or machine",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(variables: &[(&str, &str)]) -> Credentials {
        Credentials::by(&|wanted| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_source_is_named_and_no_secret_shown() {
        let keys =
            source(&[("AWS_ACCESS_KEY_ID", "AKIAKEY"), ("AWS_SECRET_ACCESS_KEY", "hunter2"), ("AWS_PROFILE", "p")]);
        assert_eq!(keys.kind, "environment");
        assert!(!keys.source.contains("AKIAKEY") && !keys.source.contains("hunter2"), "{keys:?}");
        assert!(source(&[("AWS_PROFILE", "prod")]).source.contains("\"prod\""));
        let half = source(&[("AWS_ACCESS_KEY_ID", "AKIAKEY")]);
        assert_eq!(half.kind, "default", "half a pair is none");
        assert!(half.source.contains("without AWS_SECRET_ACCESS_KEY"), "{half:?}");
        assert_eq!(source(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://x")]).kind, "container");
        assert_eq!(source(&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/x")]).kind, "web_identity");
    }
}
