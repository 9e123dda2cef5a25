//! The compatibility gate: every version reads all older ones, and what a client could send yesterday it can send today.
//!
//! Our own rules name the field; apache-avro's check stands behind them as a net. Must never weigh: a rule is kept or the
//! version is refused.

use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};

use crate::compile::{Draft, Report};
use crate::field::{Bound, Field, Kind, Limits};
use crate::nested::{Member, RecordShape, Shape};

/// Checks that `newer` may follow `older`; faults name `newer`'s file.
pub(crate) fn check(older: &Draft, newer: &Draft, older_name: &str, report: &mut Report<'_>) {
    let before = report.faults.len();
    let seen = Vec::new();
    let (records, fields) = ((&older.records, &newer.records), &older.fields);
    let mut gate = Gate { older: records.0, newer: records.1, fields, older_name, report, seen };
    gate.record(0, 0, "");
    gate.columns(&newer.fields);
    let verdict = SchemaCompatibility::can_read(&older.schema, &newer.schema);
    if report.faults.len() > before {
        return;
    }
    match verdict {
        Ok(Compatibility::Full) => {}
        Ok(Compatibility::Partial) => report.push("", "avro", format!("cannot read every record of {older_name}")),
        Err(error) => report.push("", "avro", format!("cannot read {older_name}: {error}")),
    }
}

struct Gate<'a, 'r, 'f> {
    older: &'a [RecordShape],
    newer: &'a [RecordShape],
    /// The older version's, which say what is a column of JSON.
    fields: &'a [Field],
    older_name: &'a str,
    report: &'r mut Report<'f>,
    /// Pairs of records that are compared already: schemas may be recursive.
    seen: Vec<(usize, usize)>,
}

impl<'a> Gate<'a, '_, '_> {
    fn refuse(&mut self, path: &str, rule: &'static str, what: &str) {
        let detail =
            format!("{what} (against {}); published records must stay readable: add a field instead", self.older_name);
        self.report.push(path, rule, detail);
    }

    fn record(&mut self, older: usize, newer: usize, path: &str) {
        if self.seen.contains(&(older, newer)) {
            return;
        }
        self.seen.push((older, newer));
        let (Some(older), Some(newer)) = (self.older.get(older), self.newer.get(newer)) else { return };
        if short(&older.name) != short(&newer.name) {
            self.refuse(path, "rename", "the record has another name");
        }
        for member in &newer.members {
            let inner = if path.is_empty() { member.name.clone() } else { format!("{path}.{}", member.name) };
            match older.members.iter().find(|old| old.name == member.name) {
                Some(old) => self.member(old, member, &inner),
                None => self.added(older, member, &inner, path.is_empty()),
            }
        }
    }

    /// A column holds plain values or JSON, never both: what stands in it already would be misread.
    fn columns(&mut self, newers: &[Field]) {
        for newer in newers {
            let Some(older) = self.fields.iter().find(|older| older.name == newer.name) else { continue };
            match (is_json(older), is_json(newer)) {
                (false, true) => self.refuse(&newer.name, "column", "a plain column must not become one of JSON"),
                (true, false) => self.refuse(&newer.name, "column", "a column of JSON must not become a plain one"),
                _ => {}
            }
        }
    }

    /// Whether what stands at this path is kept as text inside of a column of JSON.
    fn in_json(&self, path: &str) -> bool {
        let column = path.split('.').next();
        self.fields.iter().any(|field| Some(field.name.as_str()) == column && is_json(field))
    }

    fn added(&mut self, older: &RecordShape, member: &Member, path: &str, is_column: bool) {
        if member.default.is_none() {
            self.refuse(path, "default", "a new field needs a default, for the records that do not have it");
        }
        if is_column && older.members.iter().any(|old| old.name.eq_ignore_ascii_case(&member.name)) {
            self.refuse(path, "rename", "an older field differs in case only, which columns do not");
        }
    }

    fn member(&mut self, older: &Member, newer: &Member, path: &str) {
        self.limits(&older.limits, &newer.limits, path);
        self.shape(&older.shape, &newer.shape, path);
    }

    fn limits(&mut self, older: &Limits, newer: &Limits, path: &str) {
        let smaller = |old: Option<u32>, new: Option<u32>| new.is_some_and(|new| old.is_none_or(|old| new < old));
        if smaller(older.max_length, newer.max_length) {
            self.refuse(path, "maxLength", "must not shrink or appear");
        }
        if newer.min_length.is_some_and(|new| new > older.min_length.unwrap_or(0)) {
            self.refuse(path, "minLength", "must not grow or appear");
        }
        if newer.minimum.is_some_and(|new| older.minimum.is_none_or(|old| number(new) > number(old))) {
            self.refuse(path, "minimum", "must not rise or appear");
        }
        if newer.maximum.is_some_and(|new| older.maximum.is_none_or(|old| number(new) < number(old))) {
            self.refuse(path, "maximum", "must not fall or appear");
        }
    }

    fn shape(&mut self, older: &Shape, newer: &Shape, path: &str) {
        match (older, newer) {
            (Shape::Union(olds), Shape::Union(news)) => {
                for old in olds {
                    self.branch(old, news, path);
                }
            }
            (old, Shape::Union(news)) => self.branch(old, news, path),
            (Shape::Union(_), _) => self.refuse(path, "union", "a type of the union is gone"),
            (Shape::Null, Shape::Null) | (Shape::Duration, Shape::Duration) => {}
            (Shape::Array(old), Shape::Array(new)) | (Shape::Map(old), Shape::Map(new)) => self.shape(old, new, path),
            (Shape::Record(old), Shape::Record(new)) => self.record(*old, *new, path),
            (Shape::Scalar(old), Shape::Scalar(new)) => self.kind(old, new, path),
            _ => self.refuse(path, "type", "the type has changed"),
        }
    }

    /// A branch must find itself again: the like of it if there is one (whose own faults then say most).
    fn branch(&mut self, old: &Shape, news: &[Shape], path: &str) {
        let like = news.iter().find(|new| self.alike(old, new));
        match like.or_else(|| news.iter().find(|new| promotes(old, new))) {
            Some(new) => self.shape(old, new, path),
            None => self.refuse(path, "union", "a type of the union is gone"),
        }
    }

    fn alike(&self, old: &Shape, new: &Shape) -> bool {
        match (old, new) {
            (Shape::Record(old), Shape::Record(new)) => match (self.older.get(*old), self.newer.get(*new)) {
                (Some(old), Some(new)) => short(&old.name) == short(&new.name),
                _ => false,
            },
            (Shape::Scalar(old), Shape::Scalar(new)) => std::mem::discriminant(old) == std::mem::discriminant(new),
            _ => std::mem::discriminant(old) == std::mem::discriminant(new),
        }
    }

    fn kind(&mut self, old: &Kind, new: &Kind, path: &str) {
        match (old, new) {
            (Kind::Enum { symbols: olds }, Kind::Enum { symbols: news }) => {
                if let Some(gone) = olds.iter().find(|old| !news.contains(old)) {
                    self.refuse(path, "symbols", &format!("the symbol {gone} is gone"));
                }
            }
            (Kind::Fixed { size: old }, Kind::Fixed { size: new }) if old != new => {
                self.refuse(path, "size", "the size of a fixed has changed");
            }
            (Kind::Decimal { precision: p, scale: s, form }, Kind::Decimal { precision, scale, form: new_form }) => {
                if (p, s) != (precision, scale) {
                    self.refuse(path, "decimal", "precision or scale have changed");
                } else if form != new_form {
                    self.refuse(path, "type", "the decimal is written in another form");
                }
            }
            (Kind::Uuid { form: old }, Kind::Uuid { form: new }) if old != new => {
                self.refuse(path, "type", "the uuid is written in another form");
            }
            (Kind::Float, Kind::Double) if self.in_json(path) => {
                self.refuse(path, "type", "a float inside of JSON must not become a double: 0.1 would be two numbers");
            }
            _ if std::mem::discriminant(old) == std::mem::discriminant(new) || widens(old, new) => {}
            _ if is_logical(old) || is_logical(new) => self.refuse(path, "logicalType", "the logical type has changed"),
            _ => self.refuse(path, "type", "the type has changed"),
        }
    }
}

fn is_json(field: &Field) -> bool {
    matches!(field.kind, Kind::Json(_))
}

fn promotes(old: &Shape, new: &Shape) -> bool {
    matches!((old, new), (Shape::Scalar(old), Shape::Scalar(new)) if widens(old, new))
}

fn widens(old: &Kind, new: &Kind) -> bool {
    matches!(
        (old, new),
        (Kind::Int, Kind::Long | Kind::Float | Kind::Double)
            | (Kind::Long, Kind::Float | Kind::Double)
            | (Kind::Float, Kind::Double)
    )
}

fn is_logical(kind: &Kind) -> bool {
    !matches!(
        kind,
        Kind::Boolean
            | Kind::Int
            | Kind::Long
            | Kind::Float
            | Kind::Double
            | Kind::String
            | Kind::Bytes
            | Kind::Fixed { .. }
            | Kind::Enum { .. }
    )
}

/// Avro matches records by their name without namespace.
fn short(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, short)| short)
}

/// Bounds of a promoted field are compared as numbers.
#[expect(clippy::cast_precision_loss, reason = "only compares; equal bounds stay equal")]
fn number(bound: Bound) -> f64 {
    match bound {
        Bound::Integer(number) => number as f64,
        Bound::Double(number) => number,
    }
}
