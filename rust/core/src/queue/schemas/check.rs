//! Checking a value against a JSON Schema. Pure: nothing is fetched from anywhere.

use std::error::Error as StdError;

use boon::{CompileError, Compiler, Draft, ErrorKind, SchemaIndex, Schemas, UrlLoader, ValidationError};
use percent_encoding::percent_decode_str;
use regex::RegexBuilder;
use serde_json::Value;

use super::book::is_envelope;
use crate::error::{Error, Result};
use crate::record::Json;

/// Most problems of one value that an error lists.
const MOST_PROBLEMS: usize = 5;
/// Most characters of one problem, which may repeat the value.
const PROBLEM_CHARS: usize = 300;
/// Most bytes that one pattern may compile to.
const PATTERN_BYTES: usize = 1024 * 1024;
/// What the compiler calls the schema. References within it resolve against this; no other address can be read.
const ADDRESS: &str = "buquet:///schema";
/// Keywords whose values are data. A pattern in there is not one.
const DATA: [&str; 4] = ["const", "default", "enum", "examples"];

/// What a refusal repeats of the value that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Where it does not fit, and what is there.
    Values,
    /// Only where: the value is to be kept secret.
    Places,
}

/// A schema that values can be checked against.
#[derive(Debug)]
pub struct Compiled(std::result::Result<Validator, String>);

struct Validator {
    schemas: Schemas,
    root: SchemaIndex,
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Validator").finish_non_exhaustive()
    }
}

impl Compiled {
    /// Compiles a stored schema; one that this version cannot use refuses everything.
    pub fn new(schema: &Value) -> Self {
        Self(compile(schema))
    }

    /// What is wrong with the schema itself, if anything is.
    pub fn problem(&self) -> Option<&str> {
        self.0.as_ref().err().map(String::as_str)
    }

    /// Checks a value; `what` names it and `kind` its type in messages.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the place in the value, the rule and, if it may be `shown`, the value there;
    /// [`Error::Corrupt`] if the schema itself cannot be used.
    pub fn check(&self, what: &str, kind: &str, value: &Json, shown: Shown) -> Result<()> {
        let validator = self.0.as_ref().map_err(|problem| {
            Error::Corrupt(format!(
                "the schema of {kind:?} cannot be used here: {problem}; publish it again, delete it, or upgrade buquet"
            ))
        })?;
        let value: Value = serde_json::from_str(value.text())
            .map_err(|error| Error::Invalid(format!("{what} of {kind:?} cannot be read: {error}")))?;
        if is_envelope(&value) {
            return Ok(());
        }
        let Err(error) = validator.schemas.validate(&value, validator.root) else { return Ok(()) };
        let problems = problems(&error, &value, shown);
        let more = problems.len().saturating_sub(MOST_PROBLEMS);
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        let problems: Vec<String> = problems.into_iter().take(MOST_PROBLEMS).collect();
        Err(Error::Invalid(format!(
            "{what} does not fit the schema of task type {kind:?}: {}{more}; `buquet schemas show {kind}` prints it",
            problems.join("; ")
        )))
    }
}

fn compile(schema: &Value) -> std::result::Result<Validator, String> {
    check_patterns(schema)?;
    let mut compiler = Compiler::new();
    compiler.set_default_draft(Draft::V2020_12);
    compiler.use_loader(Box::new(Offline));
    let mut schemas = Schemas::new();
    let problem = |error: CompileError| shorten(&describe(&error, schema));
    compiler.add_resource(ADDRESS, schema.clone()).map_err(problem)?;
    let root = compiler.compile(ADDRESS, &mut schemas).map_err(problem)?;
    Ok(Validator { schemas, root })
}

fn describe(error: &CompileError, schema: &Value) -> String {
    match error {
        CompileError::ValidationError { src, .. } => problems(src, schema, Shown::Values).join("; "),
        CompileError::InvalidRegex { url, regex, src } => {
            format!("the pattern {regex:?} at {} cannot be used: {src}", place_in_schema(url))
        }
        other => format!("{other:#}").replace(ADDRESS, ""),
    }
}

/// Refuses to load anything: what a schema needs is in it.
struct Offline;

impl UrlLoader for Offline {
    fn load(&self, url: &str) -> std::result::Result<Value, Box<dyn StdError>> {
        Err(format!("{url} is not read: put the schema it names into $defs").into())
    }
}

/// Bounds what each pattern compiles to; whether it is valid is the compiler's to say.
fn check_patterns(schema: &Value) -> std::result::Result<(), String> {
    match schema {
        Value::Array(items) => items.iter().try_for_each(check_patterns),
        Value::Object(members) => {
            for (keyword, value) in members.iter().filter(|(keyword, _)| !DATA.contains(&keyword.as_str())) {
                match (keyword.as_str(), value) {
                    ("pattern", Value::String(pattern)) => check_pattern(pattern)?,
                    ("patternProperties", Value::Object(patterns)) => {
                        patterns.keys().try_for_each(|pattern| check_pattern(pattern))?;
                    }
                    _ => {}
                }
                check_patterns(value)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn check_pattern(pattern: &str) -> std::result::Result<(), String> {
    match RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build() {
        Err(regex::Error::CompiledTooBig(_)) => Err(shorten(&format!(
            "the pattern {pattern:?} needs more than {PATTERN_BYTES} bytes when it is compiled; use fewer repetitions"
        ))),
        _ => Ok(()),
    }
}

/// All that is wrong with a value, a text each.
fn problems(error: &ValidationError<'_, '_>, value: &Value, shown: Shown) -> Vec<String> {
    let mut leaves = Vec::new();
    collect_leaves(error, &mut leaves);
    leaves
        .into_iter()
        .map(|leaf| {
            let place = leaf.instance_location.to_string();
            let found = value.pointer(&place).unwrap_or(&Value::Null);
            let problem = shorten(&problem(&leaf.kind, found, shown));
            let at = if place.is_empty() { "the whole" } else { &place };
            let rule = format!("{}/{}", place_in_schema(leaf.schema_url), keyword(&leaf.kind));
            format!("at {at}: {problem} (rule {})", rule.trim_end_matches('/'))
        })
        .collect()
}

/// The errors that say something by themselves, in the order they were found.
fn collect_leaves<'e, 's, 'v>(error: &'e ValidationError<'s, 'v>, leaves: &mut Vec<&'e ValidationError<'s, 'v>>) {
    let only_groups = matches!(
        error.kind,
        ErrorKind::Group | ErrorKind::Schema { .. } | ErrorKind::Reference { .. } | ErrorKind::AllOf
    );
    if only_groups && !error.causes.is_empty() {
        error.causes.iter().for_each(|cause| collect_leaves(cause, leaves));
    } else {
        leaves.push(error);
    }
}

fn place_in_schema(url: &str) -> String {
    let fragment = url.split_once('#').map_or("", |(_, fragment)| fragment);
    percent_decode_str(fragment).decode_utf8_lossy().into_owned()
}

fn problem(kind: &ErrorKind<'_, '_>, found: &Value, shown: Shown) -> String {
    let value = match shown {
        Shown::Values => found.to_string(),
        Shown::Places => "value".to_owned(),
    };
    match kind {
        ErrorKind::Type { want, .. } => {
            let types: Vec<String> = want.iter().map(|kind| format!("\"{kind}\"")).collect();
            let noun = if types.len() == 1 { "type" } else { "types" };
            format!("{value} is not of {noun} {}", types.join(", "))
        }
        ErrorKind::Enum { want } => format!("{value} is not one of {}", Value::Array((*want).clone())),
        ErrorKind::Const { want } => format!("{value} is not {want}"),
        ErrorKind::Format { want, .. } => format!("{value} is not a {want:?}"),
        ErrorKind::Required { want } => match want.as_slice() {
            [one] => format!("{one:?} is a required property"),
            several => format!("{} are required properties", quoted(several)),
        },
        ErrorKind::AdditionalProperties { got } => format!("additional properties are not allowed: {}", quoted(got)),
        ErrorKind::AdditionalItems { got } => format!("the last {got} items are not allowed"),
        ErrorKind::PropertyName { prop } => format!("{prop:?} is not an allowed name of a property"),
        ErrorKind::Dependency { prop, missing } | ErrorKind::DependentRequired { prop, missing } => {
            format!("{prop:?} requires {} as well", quoted(missing))
        }
        ErrorKind::MinProperties { want, .. } => format!("{value} has fewer than {want} properties"),
        ErrorKind::MaxProperties { want, .. } => format!("{value} has more than {want} properties"),
        ErrorKind::MinItems { want, .. } => format!("{value} has fewer than {want} items"),
        ErrorKind::MaxItems { want, .. } => format!("{value} has more than {want} items"),
        ErrorKind::UniqueItems { got: [one, other] } => format!("items {one} and {other} of {value} are equal"),
        ErrorKind::Contains => format!("no item of {value} is as it has to be"),
        ErrorKind::MinContains { want, .. } => format!("fewer than {want} items of {value} are as they have to be"),
        ErrorKind::MaxContains { want, .. } => format!("more than {want} items of {value} are as {want} may be"),
        ErrorKind::MinLength { want, .. } => format!("{value} is shorter than {want} characters"),
        ErrorKind::MaxLength { want, .. } => format!("{value} is longer than {want} characters"),
        ErrorKind::Pattern { want, .. } => format!("{value} does not match {want:?}"),
        ErrorKind::Minimum { want, .. } => format!("{value} is less than the minimum of {want}"),
        ErrorKind::Maximum { want, .. } => format!("{value} is greater than the maximum of {want}"),
        ErrorKind::ExclusiveMinimum { want, .. } => format!("{value} is not greater than {want}"),
        ErrorKind::ExclusiveMaximum { want, .. } => format!("{value} is not less than {want}"),
        ErrorKind::MultipleOf { want, .. } => format!("{value} is not a multiple of {want}"),
        ErrorKind::FalseSchema => format!("{value} is not allowed here"),
        ErrorKind::Not => format!("{value} fits a schema that it must not fit"),
        ErrorKind::AnyOf | ErrorKind::OneOf(None) => format!("{value} fits none of the schemas that are possible here"),
        ErrorKind::OneOf(Some(_)) => format!("{value} fits several schemas where exactly one has to fit"),
        ErrorKind::RefCycle { .. } => "the schema refers to itself without end".to_owned(),
        ErrorKind::ContentEncoding { want, .. } | ErrorKind::ContentMediaType { want, .. } => {
            format!("{value} is not {want:?}")
        }
        ErrorKind::Group
        | ErrorKind::Schema { .. }
        | ErrorKind::Reference { .. }
        | ErrorKind::AllOf
        | ErrorKind::ContentSchema => {
            format!("{value} does not fit")
        }
    }
}

/// The keyword of the schema that was not met; empty where the schema as a whole was not.
const fn keyword(kind: &ErrorKind<'_, '_>) -> &'static str {
    match kind {
        ErrorKind::Group | ErrorKind::Schema { .. } | ErrorKind::FalseSchema => "",
        ErrorKind::ContentSchema => "contentSchema",
        ErrorKind::PropertyName { .. } => "propertyNames",
        ErrorKind::Reference { kw, .. } => kw,
        ErrorKind::RefCycle { .. } => "$ref",
        ErrorKind::Type { .. } => "type",
        ErrorKind::Enum { .. } => "enum",
        ErrorKind::Const { .. } => "const",
        ErrorKind::Format { .. } => "format",
        ErrorKind::MinProperties { .. } => "minProperties",
        ErrorKind::MaxProperties { .. } => "maxProperties",
        ErrorKind::AdditionalProperties { .. } => "additionalProperties",
        ErrorKind::Required { .. } => "required",
        ErrorKind::Dependency { .. } => "dependencies",
        ErrorKind::DependentRequired { .. } => "dependentRequired",
        ErrorKind::MinItems { .. } => "minItems",
        ErrorKind::MaxItems { .. } => "maxItems",
        ErrorKind::Contains => "contains",
        ErrorKind::MinContains { .. } => "minContains",
        ErrorKind::MaxContains { .. } => "maxContains",
        ErrorKind::UniqueItems { .. } => "uniqueItems",
        ErrorKind::AdditionalItems { .. } => "additionalItems",
        ErrorKind::MinLength { .. } => "minLength",
        ErrorKind::MaxLength { .. } => "maxLength",
        ErrorKind::Pattern { .. } => "pattern",
        ErrorKind::ContentEncoding { .. } => "contentEncoding",
        ErrorKind::ContentMediaType { .. } => "contentMediaType",
        ErrorKind::Minimum { .. } => "minimum",
        ErrorKind::Maximum { .. } => "maximum",
        ErrorKind::ExclusiveMinimum { .. } => "exclusiveMinimum",
        ErrorKind::ExclusiveMaximum { .. } => "exclusiveMaximum",
        ErrorKind::MultipleOf { .. } => "multipleOf",
        ErrorKind::Not => "not",
        ErrorKind::AllOf => "allOf",
        ErrorKind::AnyOf => "anyOf",
        ErrorKind::OneOf(_) => "oneOf",
    }
}

fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("{:?}", name.as_ref())).collect();
    quoted.join(", ")
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= PROBLEM_CHARS {
        return text.to_owned();
    }
    let short: String = text.chars().take(PROBLEM_CHARS).collect();
    format!("{short}...")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {"path": {"type": "string", "pattern": "^[a-z.]+$"}, "size": {"type": "integer", "maximum": 1024}},
            "required": ["path"],
            "additionalProperties": false
        })
    }

    fn refusal(value: &Value) -> String {
        let value = Json::parse(&value.to_string()).unwrap();
        Compiled::new(&schema()).check("the input", "thumbnail", &value, Shown::Values).unwrap_err().to_string()
    }

    #[test]
    fn what_does_not_fit_is_refused_with_place_rule_and_value() {
        let message = refusal(&json!({"path": "cat.png", "size": "big"}));
        assert!(message.contains("at /size: \"big\" is not of type \"integer\""), "{message}");
        assert!(message.contains("/properties/size/type") && message.contains("thumbnail"), "{message}");
        assert!(refusal(&json!({"size": 1})).contains("\"path\" is a required property"));
        assert!(refusal(&json!({"path": "a", "sice": 1})).contains("sice"));
        let message = refusal(&json!({"path": "X".repeat(100_000), "size": 9_999}));
        assert!(message.contains("/size") && message.len() < 2_000, "{}", message.len());
    }

    #[test]
    fn of_what_is_secret_only_the_places_are_told() {
        let value = Json::parse(&json!({"path": "hush!", "size": "hush?"}).to_string()).unwrap();
        let refused = Compiled::new(&schema()).check("the input", "thumbnail", &value, Shown::Places).unwrap_err();
        let message = refused.to_string();
        assert!(
            message.contains("at /size: value is not of type \"integer\"") && message.contains("at /path"),
            "{message}"
        );
        assert!(!message.contains("hush"), "{message}");
    }

    #[test]
    fn what_fits_passes_and_so_does_what_only_its_encoder_can_read() {
        for value in
            [json!({"path": "cat.png"}), json!({"path": "a", "size": 3}), json!({"$buquet": {"codec": "zstd"}})]
        {
            let value = Json::parse(&value.to_string()).unwrap();
            Compiled::new(&schema()).check("the input", "thumbnail", &value, Shown::Values).unwrap();
        }
    }

    #[test]
    fn each_problem_of_a_value_is_named_with_its_place_and_rule() {
        let schema = json!({
            "properties": {
                "a": {"enum": ["x", 1]}, "b": {"anyOf": [{"type": "null"}, {"minimum": 3}]}, "c": {"items": {"type": "string"}},
                "d": {"$ref": "#/$defs/short"}, "e": {"allOf": [{"multipleOf": 2}, {"maximum": 4}]}
            },
            "$defs": {"short": {"maxLength": 2}}
        });
        let check = |value: Value| {
            let value = Json::parse(&value.to_string()).unwrap();
            Compiled::new(&schema).check("the input", "t", &value, Shown::Values).unwrap_err().to_string()
        };
        for (value, said) in [
            (json!({"a": "y"}), "at /a: \"y\" is not one of [\"x\",1] (rule /properties/a/enum)"),
            (json!({"b": 1}), "at /b: 1 fits none of the schemas that are possible here (rule /properties/b/anyOf)"),
            (json!({"c": ["s", 2]}), "at /c/1: 2 is not of type \"string\" (rule /properties/c/items/type)"),
            (json!({"d": "long"}), "at /d: \"long\" is longer than 2 characters (rule /$defs/short/maxLength)"),
            (json!({"e": 5}), "at /e: 5 is greater than the maximum of 4 (rule /properties/e/allOf/1/maximum)"),
        ] {
            let message = check(value);
            assert!(message.contains(said), "{message}");
        }
        let message = check(json!({"a": 0, "b": 0, "c": [0, 0, 0], "d": "long", "e": 5}));
        assert!(message.contains("; and 3 more;"), "{message}");
    }

    #[test]
    fn what_is_data_in_a_schema_is_not_taken_for_a_pattern() {
        let huge = "(a{1000}){1000}";
        assert!(Compiled::new(&json!({"default": {"pattern": huge}})).problem().is_none());
        let problem = Compiled::new(&json!({"properties": {"a": {"pattern": huge}}})).problem().map(str::to_owned);
        assert!(problem.is_some_and(|problem| problem.contains("fewer repetitions")));
    }
}
