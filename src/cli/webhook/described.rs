//! The sender that a captured delivery names: a known one, changed as the delivery's own `config` says. The changed
//! description is written down as TOML and read by the one reader that there is.

use std::path::PathBuf;

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::config::sender::{known_source, parse};
use crate::config::source::Source;
use crate::credential::webhook::Settings;
use crate::credential::webhook::description::{Description, Verify};
use crate::credential::webhook::place::{Place, PlaceKind};
use crate::secret::Secret;

/// The description and what the configuration adds to it.
///
/// # Errors
/// Why there is none, in a sentence.
pub(super) fn sender(entry: &Value) -> Result<(Description, Settings), String> {
    let none = Value::Null;
    let config = entry.get("config").unwrap_or(&none);
    let mut raw = match entry.get("preset").and_then(Value::as_str) {
        Some(name) => known(name)?,
        None if config.get("override").is_some() => Map::new(),
        None => return Err("'preset' is missing".to_owned()),
    };
    if let Some(changes) = config.get("override") {
        merge(&mut raw, changes.as_object().ok_or("'config.override' is not an object")?);
    }
    // The description is taken at its word: a message without the body is a mistake only in a configuration.
    raw.entry("body_signed").or_insert(Value::Bool(false));
    let text = format!("[sender.it]\n{}", as_toml(&raw)?);
    let senders = parse(&Source { path: PathBuf::from("override"), text })?;
    let description = senders.named("it").cloned().ok_or("the override makes no sender")?;
    let settings = settings(&description, config)?;
    Ok((description, settings))
}

fn settings(description: &Description, config: &Value) -> Result<Settings, String> {
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let place = match &description.verify {
        Verify::Token { place, .. } => chosen_place(place, text("name"), text("path_prefix"))?,
        Verify::Signature(_) | Verify::Basic => None,
    };
    let variables = config.get("var").and_then(Value::as_object).into_iter().flatten();
    Ok(Settings {
        place,
        variables: variables
            .filter_map(|(name, value)| Some((name.as_str().into(), value.as_str()?.into())))
            .collect(),
        verify_token: text("verify_token").map(Secret::new),
        organization_id: text("organization_id").map(Into::into),
        enforces_networks: config.get("enforce_cidrs").and_then(Value::as_bool).unwrap_or(false),
        ..Settings::default()
    })
}

fn chosen_place(usual: &Place, name: Option<&str>, prefix: Option<&str>) -> Result<Option<Place>, String> {
    let kind = match usual {
        Place::Header(_) | Place::Unnamed(PlaceKind::Header) => PlaceKind::Header,
        Place::Query(_) | Place::Unnamed(PlaceKind::Query) => PlaceKind::Query,
        Place::Path(_) | Place::Unnamed(PlaceKind::Path) => PlaceKind::Path,
        Place::Json(_) => return Ok(None),
    };
    Ok(match kind {
        PlaceKind::Header => match name {
            Some(name) => {
                Some(Place::Header(name.parse().map_err(|_| "'config.name' is not a header's name")?))
            }
            None => None,
        },
        PlaceKind::Query => name.map(|name| Place::Query(name.into())),
        PlaceKind::Path => prefix.map(|prefix| Place::Path(prefix.into())),
    })
}

/// A known sender as it is written down.
fn known(name: &str) -> Result<Map<String, Value>, String> {
    let source = known_source();
    let table = DeTable::parse(&source.text).map_err(|error| error.to_string())?;
    let sender = table.get_ref().get("sender").and_then(|senders| senders.get_ref().get(name));
    match sender.map(|sender| as_json(sender.get_ref())) {
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) | None => Err(format!("no sender is called '{name}'")),
    }
}

fn as_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Array(items) => items.iter().map(|item| as_json(item.get_ref())).collect(),
        DeValue::Table(table) => table
            .iter()
            .map(|(name, value)| (name.get_ref().to_string(), as_json(value.get_ref())))
            .collect::<Map<_, _>>()
            .into(),
        // No description has one.
        DeValue::Float(_) | DeValue::Datetime(_) => Value::Null,
    }
}

/// Changes `raw` in depth; a `null` takes a key away, a table goes into a table, all else takes the other's place.
fn merge(raw: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (key, change) in changes {
        match (raw.get_mut(key), change) {
            (_, Value::Null) => {
                raw.remove(key);
            }
            (Some(Value::Object(inner)), Value::Object(changes)) => merge(inner, changes),
            _ => {
                raw.insert(key.clone(), change.clone());
            }
        }
    }
}

/// One key a line. Notes for people, which the tables of facts have beside the description, are left out.
fn as_toml(fields: &Map<String, Value>) -> Result<String, String> {
    const NOTES: [&str; 1] = ["code"];
    let mut out = String::new();
    for (key, value) in
        fields.iter().filter(|(key, value)| !NOTES.contains(&key.as_str()) && !value.is_null())
    {
        out.push_str(&format!("{} = {}\n", toml_string(key), inline(value)?));
    }
    Ok(out)
}

fn inline(value: &Value) -> Result<String, String> {
    const NOTES: [&str; 1] = ["tolerance_basis"];
    Ok(match value {
        Value::Null => return Err("a list in 'config.override' has null in it".to_owned()),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => toml_string(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(inline).collect::<Result<Vec<_>, _>>()?.join(", "))
        }
        Value::Object(fields) => {
            let kept =
                fields.iter().filter(|(key, value)| !NOTES.contains(&key.as_str()) && !value.is_null());
            let pairs = kept.map(|(key, value)| Ok(format!("{} = {}", toml_string(key), inline(value)?)));
            format!("{{ {} }}", pairs.collect::<Result<Vec<_>, String>>()?.join(", "))
        }
    })
}

fn toml_string(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}
