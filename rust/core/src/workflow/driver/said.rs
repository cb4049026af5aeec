//! What a front hands over after its body has run on.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

use super::super::entry::{Ask, Entry, Fault, Kind};
use super::super::model::Op;
use crate::record::{Extra, Json};

/// What the body did since the last round.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// What it was told, each followed by what it then asked for. What comes first without being told belongs to the
    /// last block of the journal.
    pub entries: Vec<Said>,
    /// What `patched` has answered.
    pub patches: BTreeMap<String, bool>,
    /// What it has published.
    pub published: BTreeMap<String, Json>,
    /// How it ended.
    pub end: Option<BodyEnd>,
}

/// One entry, as a front says it.
#[derive(Clone, Debug)]
pub enum Said {
    /// It delivered what it was given: of which kind, `None` for a cancellation, and for which operation.
    Told(Option<Kind>, Option<Op>),
    /// The body asked for something.
    Ask(Box<Ask>),
    /// The body called an operation off.
    Cancel(Op),
}

/// How a body ended.
#[derive(Clone, Debug)]
pub enum BodyEnd {
    /// It returned this.
    Completed(Json),
    /// It raised this.
    Failed(Fault),
    /// It gave way to its cancellation.
    Cancelled(Option<Fault>),
    /// It goes on as new, with this input.
    Continued(Json),
}

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Short {
            op: Option<Op>,
        }
        let fields = Extra::deserialize(deserializer)?;
        let text = |name: &str| fields.get(name).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let whole = || serde_json::to_string(&fields).map_err(de::Error::custom);
        let short = || whole().and_then(|text| serde_json::from_str::<Short>(&text).map_err(de::Error::custom));
        match (text("told"), text("ask")) {
            (Some(kind), None) if kind == "cancel" => Ok(Self::Told(None, None)),
            (Some(kind), None) => {
                let kind = serde_json::from_value(kind.into()).map_err(de::Error::custom)?;
                Ok(Self::Told(Some(kind), short()?.op))
            }
            (None, Some(kind)) if kind == "cancel" => {
                short()?.op.map(Self::Cancel).ok_or_else(|| de::Error::missing_field("op"))
            }
            (None, Some(kind)) => match serde_json::from_str(&whole()?).map_err(de::Error::custom)? {
                Entry::Ask(ask) => Ok(Self::Ask(Box::new(ask))),
                Entry::Cancel(_) | Entry::Told(_) | Entry::Unknown(_) => {
                    Err(de::Error::custom(format_args!("nobody can ask for {kind:?}")))
                }
            },
            (Some(_), Some(_)) | (None, None) => {
                Err(de::Error::custom("an entry has either \"ask\" or \"told\", with the name of a kind"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_names_what_it_delivered_and_says_what_was_asked_for() {
        let read = |text: &str| serde_json::from_str::<Said>(text);
        assert!(matches!(read("{\"told\": \"step\", \"op\": 3}"), Ok(Said::Told(Some(Kind::Step), Some(3)))));
        assert!(matches!(
            read("{\"told\": \"step\", \"op\": 3, \"outcome\": \"completed\", \"output\": 1, \"at\": 5}"),
            Ok(Said::Told(Some(Kind::Step), Some(3)))
        ));
        assert!(matches!(read("{\"told\": \"cancel\", \"at\": 5}"), Ok(Said::Told(None, None))));
        assert!(matches!(read("{\"ask\": \"cancel\", \"op\": 3}"), Ok(Said::Cancel(3))));
        let ask = read("{\"ask\": \"timer\", \"scope\": \"\", \"name\": \"sleep\", \"n\": 0, \"until\": 9}").unwrap();
        assert!(matches!(ask, Said::Ask(ask) if ask.place.name == "sleep"));
        for bad in ["{}", "{\"ask\": \"lock\"}", "{\"told\": \"lock\"}", "{\"ask\": \"cancel\"}", "{\"ask\": 1}", "[]"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
