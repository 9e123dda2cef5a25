//! A line that was not written, and why: as it stands in `<file>.failed.ndjson`, and as it is told.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::lines::Line;

/// How many are told, and how many faults of each.
const TOLD: usize = 20;
const FAULTS_TOLD: usize = 3;
/// How much is kept of what is no JSON.
const TEXT_BYTES_MOST: usize = 4096;

/// Why a line was not written: what ingest answered, or what kept it from being sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// Of the answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// In words.
    pub(crate) detail: String,
    /// Each with its pointer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Value>,
}

impl Refused {
    /// What was never sent.
    pub(crate) fn local(detail: String) -> Self {
        Self { detail, ..Self::default() }
    }
}

/// A line of the file of failed lines.
#[derive(Debug, Serialize, Deserialize)]
struct Failed {
    line: u64,
    /// Under which it was sent: `{id} + .record` mended and sent is the same record.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(flatten)]
    why: Refused,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Box<RawValue>>,
    /// What it was, where it is no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// Appends a line with its faults.
pub(crate) fn note(line: &Line, why: Refused, out: &mut Vec<u8>) {
    let record: Option<Box<RawValue>> = serde_json::from_slice(&line.body).ok();
    // A record that is spread over lines cannot be: it was one line, or a CSV's row as we wrote it.
    let text = record.is_none().then(|| {
        let cut = line.body.get(..TEXT_BYTES_MOST).unwrap_or(&line.body);
        String::from_utf8_lossy(cut).into_owned()
    });
    let id = line.id.as_ref().ok().map(ToString::to_string);
    let failed = Failed { line: line.number, id, why, record, text };
    // Text, numbers and what was read as JSON can be written as JSON.
    out.extend(serde_json::to_vec(&failed).unwrap_or_default());
    out.push(b'\n');
}

/// The first lines of the file of failed lines, in words.
///
/// # Errors
/// It cannot be read.
pub(crate) fn tell(file: &Path) -> io::Result<Vec<String>> {
    let lines = BufReader::new(File::open(file)?).lines().take(TOLD);
    lines.map(|line| Ok(in_words(&serde_json::from_str(&line?)?))).collect()
}

fn in_words(failed: &Failed) -> String {
    let Refused { status, detail, errors } = &failed.why;
    let member = |error: &Value, name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut faults: Vec<_> = errors
        .iter()
        .take(FAULTS_TOLD)
        .map(|error| format!("{} {}", member(error, "pointer"), member(error, "detail")).trim().to_owned())
        .collect();
    if errors.len() > FAULTS_TOLD {
        faults.push(format!("and {} more", errors.len() - FAULTS_TOLD));
    }
    let status = status.map(|status| format!("{status} ")).unwrap_or_default();
    let why = if faults.is_empty() { detail.clone() } else { faults.join("; ") };
    format!("line {}: {status}{why}", failed.line)
}

#[cfg(test)]
mod tests {
    use record::RecordId;
    use serde_json::json;

    use super::*;
    use crate::rows::Place;

    fn line(id: Result<&str, &str>, body: &str) -> Line {
        let id = id.map(|id| RecordId::parse(id).unwrap()).map_err(str::to_owned);
        Line { number: 7, next: Place { line: 8, offset: 99 }, id, body: body.to_owned().into() }
    }

    fn noted(line: &Line, why: Refused) -> (Value, String) {
        let mut out = Vec::new();
        note(line, why, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 1);
        (serde_json::from_str(&text).unwrap(), in_words(&serde_json::from_str(&text).unwrap()))
    }

    #[test]
    fn a_refused_record_is_kept_as_it_was_sent_with_every_fault() {
        let fault = |at: &str| json!({"pointer": at, "code": "type", "detail": "expected a number"});
        let errors = ["/a", "/b", "/c", "/d"].map(fault).to_vec();
        let why = Refused { status: Some(422), detail: "4 faults".to_owned(), errors: errors.clone() };
        let (kept, told) = noted(&line(Ok("x"), r#"{"a" :1.10}"#), why);
        let expected =
            json!({"line": 7, "id": "x", "status": 422, "detail": "4 faults", "errors": errors, "record": {"a": 1.10}});
        assert_eq!(kept, expected);
        assert_eq!(told, "line 7: 422 /a expected a number; /b expected a number; /c expected a number; and 1 more");
    }

    #[test]
    fn what_is_no_json_is_kept_as_text() {
        let why = Refused { detail: "no id".to_owned(), ..Refused::default() };
        let (kept, told) = noted(&line(Err("no id"), "{\"a\": \"\n"), why);
        assert_eq!(kept, json!({"line": 7, "detail": "no id", "text": "{\"a\": \"\n"}));
        assert_eq!(told, "line 7: no id");
    }
}
