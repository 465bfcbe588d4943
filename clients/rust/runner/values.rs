//! Values as the scenarios write them, through the native types of the client.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};
use serde_json::{Map, Value as Json, json};
use usher_client::{Date, FromValue, Interval, Numeric, Time, Timestamp, Value};

/// A parameter from its JSON form.
pub fn native(value: &Json) -> Value {
    let Some((kind, content)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Value::Null;
    };
    let text = content.as_str().unwrap_or_default();
    match kind.as_str() {
        "bool" => content.as_bool().expect("a bool").into(),
        "int" => text.parse::<i64>().expect("an integer").into(),
        "float" => f64::from_bits(u64::from_str_radix(text, 16).expect("bits")).into(),
        "bytes" => octets(text).into(),
        "numeric" => Numeric(text.into()).into(),
        "date" => match content.as_i64() {
            Some(days) => Date(days as i32).into(),
            None if text == "infinity" => Date(i32::MAX).into(),
            None if text == "-infinity" => Date(i32::MIN).into(),
            None => text.parse::<NaiveDate>().expect("a date").into(),
        },
        "time" => match content.as_i64() {
            Some(micros) => Time(micros).into(),
            None => text.parse::<NaiveTime>().expect("a time").into(),
        },
        "timestamp" | "timestamptz" => match content.as_array() {
            Some(parts) => {
                Value::Timestamp(Timestamp { seconds: whole(&parts[0]), micros: whole(&parts[1]) as u32 })
            }
            None if text == "infinity" => Timestamp::INFINITY.into(),
            None if text == "-infinity" => Timestamp::NEG_INFINITY.into(),
            None if kind == "timestamp" => text.parse::<NaiveDateTime>().expect("a timestamp").into(),
            None => text.parse::<DateTime<Utc>>().expect("a timestamp").into(),
        },
        "interval" => {
            let (months, days, micros) =
                (whole(&content[0]) as i32, whole(&content[1]) as i32, whole(&content[2]));
            Interval { months, days, micros }.into()
        }
        "uuid" => text.parse::<uuid::Uuid>().expect("a uuid").into(),
        "json" => serde_json::from_str::<Json>(text).expect("JSON").into(),
        "array" => content.as_array().expect("an array").iter().map(native).collect::<Vec<_>>().into(),
        _ => text.into(),
    }
}

/// A cell in its JSON form.
pub fn shown(value: &Value) -> Json {
    let (kind, content) = match value {
        Value::Null => return Json::Null,
        Value::Bool(value) => ("bool", json!(value)),
        Value::Int(value) => ("int", json!(value.to_string())),
        Value::Float(value) => ("float", json!(format!("{:016x}", value.to_bits()))),
        Value::Text(value) => ("text", json!(value)),
        Value::Bytes(value) => {
            ("bytes", value.iter().map(|octet| format!("{octet:02x}")).collect::<String>().into())
        }
        Value::Numeric(value) => ("numeric", json!(value.0)),
        Value::Date(value) => ("date", date(*value)),
        Value::Time(value) => ("time", time(*value)),
        Value::Timestamp(value) => {
            let moment = in_range(NaiveDateTime::from_value(Value::Timestamp(*value)).ok());
            (
                "timestamp",
                moment.map_or_else(
                    || far(*value),
                    |moment| clock(moment.and_utc()).trim_end_matches('Z').into(),
                ),
            )
        }
        Value::TimestampTz(value) => {
            let moment = in_range(DateTime::<Utc>::from_value(Value::TimestampTz(*value)).ok());
            ("timestamptz", moment.map_or_else(|| far(*value), |moment| clock(moment).into()))
        }
        Value::Interval(value) => ("interval", json!([value.months, value.days, value.micros])),
        Value::Uuid(value) => ("uuid", json!(value.to_string())),
        Value::Json(value) => ("json", json!(value.0)),
        Value::Array(items) => ("array", items.iter().map(shown).collect()),
        Value::Other(value) => ("other", json!(value)),
    };
    Json::Object(Map::from_iter([(kind.to_owned(), content)]))
}

fn date(value: Date) -> Json {
    match (value.0, in_range(NaiveDate::from_value(value.into()).ok())) {
        (i32::MAX, _) => "infinity".into(),
        (i32::MIN, _) => "-infinity".into(),
        (_, Some(day)) => day.to_string().into(),
        (days, None) => days.into(),
    }
}

fn time(value: Time) -> Json {
    match NaiveTime::from_value(value.into()) {
        Ok(moment) => clock(moment_at(moment))["1970-01-01T".len()..].trim_end_matches('Z').into(),
        Err(_) => value.0.into(),
    }
}

fn moment_at(time: NaiveTime) -> DateTime<Utc> {
    NaiveDate::default().and_time(time).and_utc()
}

fn in_range<T: Datelike>(moment: Option<T>) -> Option<T> {
    moment.filter(|moment| (1..=9999).contains(&moment.year()))
}

fn far(value: Timestamp) -> Json {
    match value {
        Timestamp::INFINITY => "infinity".into(),
        Timestamp::NEG_INFINITY => "-infinity".into(),
        Timestamp { seconds, micros } => json!([seconds, micros]),
    }
}

fn clock(moment: DateTime<Utc>) -> String {
    let whole = moment.timestamp_subsec_micros() == 0;
    moment.to_rfc3339_opts(if whole { SecondsFormat::Secs } else { SecondsFormat::Micros }, true)
}

fn whole(value: &Json) -> i64 {
    value.as_i64().expect("an integer")
}

fn octets(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hexadecimal"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
}
