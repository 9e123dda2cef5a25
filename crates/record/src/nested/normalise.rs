//! Plain JSON to normalised JSON text of a shape: members in the schema's order, map keys sorted, defaults filled in.
//!
//! The same pass checks a client's value (strict) and brings an older version's into the newest shape (lenient). Must
//! never recurse or branch without a bound: both depth and steps have one.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{MAX_DEPTH, RecordShape, Shape, Tree};
use crate::fault::FaultCode;
use crate::field::{Kind, Limits};
use crate::json::{Faults, Pointer};
use crate::scalar::{Refusal, accept, show, show_text, within};
use crate::value::Value;

/// Values visited, alternatives of unions included: bounds what an ambiguous recursive union can cost.
const MAX_STEPS: u32 = 4_000_000;
const NO_LIMITS: Limits = Limits { min_length: None, max_length: None, minimum: None, maximum: None };
/// Bytes of a map's key: MySQL's JSON holds no longer name.
const MOST_OF_A_NAME: usize = 65_535;
const DURATION: [&str; 3] = ["months", "days", "millis"];

/// How much is forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// A client's value: bounds hold, unknown members are faults.
    Strict,
    /// What we once accepted: no bounds, unknown members are dropped.
    Lenient,
}

/// One normalisation; collects faults as it goes.
pub(crate) struct Normaliser<'s> {
    pub(crate) records: &'s [RecordShape],
    pub(crate) mode: Mode,
    pub(crate) faults: Faults,
    pub(crate) pointer: Pointer,
    steps: u32,
    /// Where branch and tree lie in memory that did not go together: at every level all branches below would be tried
    /// again for each branch.
    failed: HashSet<(usize, usize, Mode)>,
}

impl<'s> Normaliser<'s> {
    pub(crate) fn new(records: &'s [RecordShape], mode: Mode, pointer: Pointer) -> Normaliser<'s> {
        Normaliser { records, mode, faults: Faults::default(), pointer, steps: 0, failed: HashSet::new() }
    }

    /// Whether the shape takes the tree as it is.
    pub(crate) fn takes(records: &'s [RecordShape], mode: Mode, shape: &Shape, tree: &Tree<'_>) -> bool {
        let mut trial = Normaliser::new(records, mode, Pointer::default());
        trial.value(shape, &NO_LIMITS, tree, 0, &mut String::new());
        trial.faults.is_empty()
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.faults.push(self.pointer.to_string(), refusal);
    }

    fn expected(&mut self, what: &'static str) {
        self.refuse(Refusal::new(FaultCode::Type, what));
    }

    /// Appends the tree in normal form, or records why it cannot.
    pub(crate) fn value(&mut self, shape: &Shape, limits: &Limits, tree: &Tree<'_>, depth: usize, out: &mut String) {
        self.steps += 1;
        if depth > MAX_DEPTH || self.steps > MAX_STEPS {
            self.refuse(Refusal::new(FaultCode::Length, format!("nested at most {MAX_DEPTH} deep")));
            return;
        }
        match (shape, tree) {
            (Shape::Null, tree) if tree.is_null() => out.push_str("null"),
            (Shape::Null, _) => self.expected("expected null"),
            (Shape::Scalar(kind), tree) => {
                let value = accept(kind, tree.given());
                match value.and_then(|value| self.bounded(limits, &value).map(|()| value)) {
                    Ok(value) => show(kind, &value, out),
                    Err(refusal) => self.refuse(refusal),
                }
            }
            (Shape::Array(items), Tree::Array(trees)) => self.array(items, limits, trees, depth, out),
            (Shape::Array(_), _) => self.expected("expected an array"),
            (Shape::Map(values), Tree::Object(members)) => self.map(values, limits, members, depth, out),
            (Shape::Record(index), Tree::Object(members)) => self.record(*index, members, depth, out),
            (Shape::Duration, Tree::Object(members)) => self.duration(members, out),
            (Shape::Map(_) | Shape::Record(_) | Shape::Duration, _) => self.expected("expected an object"),
            (Shape::Union(branches), tree) => self.union(branches, limits, tree, depth, out),
        }
    }

    fn bounded(&self, limits: &Limits, value: &Value<'_>) -> Result<(), Refusal> {
        if self.mode == Mode::Strict { within(limits, value) } else { Ok(()) }
    }

    fn array(&mut self, items: &Shape, limits: &Limits, trees: &[Tree<'_>], depth: usize, out: &mut String) {
        out.push('[');
        for (index, tree) in trees.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            let mark = self.pointer.enter_index(index);
            self.value(items, limits, tree, depth + 1, out);
            self.pointer.leave(mark);
        }
        out.push(']');
    }

    fn map(
        &mut self,
        values: &Shape,
        limits: &Limits,
        members: &[(Cow<'_, str>, Tree<'_>)],
        depth: usize,
        out: &mut String,
    ) {
        let mut sorted: Vec<_> = members.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let mut last: Option<&str> = None;
        out.push('{');
        for (name, tree) in sorted {
            let mark = self.pointer.enter(name);
            if last == Some(name) {
                self.refuse(Refusal::twice());
            }
            if self.mode == Mode::Strict && name.len() > MOST_OF_A_NAME {
                self.refuse(Refusal::new(FaultCode::Length, format!("a name has at most {MOST_OF_A_NAME} bytes")));
            }
            if let Err(refusal) = self.bounded(&NO_LIMITS, &Value::Text(Cow::Borrowed(name))) {
                self.refuse(refusal);
            }
            separate(last.is_some(), name, out);
            self.value(values, limits, tree, depth + 1, out);
            self.pointer.leave(mark);
            last = Some(name);
        }
        out.push('}');
    }

    fn record(&mut self, index: usize, members: &[(Cow<'_, str>, Tree<'_>)], depth: usize, out: &mut String) {
        let Some(record) = self.records.get(index) else { return };
        self.unknown_members(members, |name| record.members.iter().any(|member| member.name == name));
        out.push('{');
        for (at, member) in record.members.iter().enumerate() {
            separate(at > 0, &member.name, out);
            let mark = self.pointer.enter(&member.name);
            match (self.only(members, &member.name), &member.default) {
                (Some(tree), _) => self.value(&member.shape, &member.limits, tree, depth + 1, out),
                (None, Some(default)) => out.push_str(default),
                (None, None) if member.shape.takes_null() => out.push_str("null"),
                (None, None) => self.refuse(Refusal::new(FaultCode::Missing, "is required; give it")),
            }
            self.pointer.leave(mark);
        }
        out.push('}');
    }

    /// The member with this name; a second one is a fault.
    fn only<'t, 'a>(&mut self, members: &'t [(Cow<'a, str>, Tree<'a>)], name: &str) -> Option<&'t Tree<'a>> {
        let mut found = members.iter().filter(|member| member.0 == name);
        let first = found.next();
        if found.next().is_some() {
            self.refuse(Refusal::twice());
        }
        first.map(|member| &member.1)
    }

    fn unknown_members(&mut self, members: &[(Cow<'_, str>, Tree<'_>)], known: impl Fn(&str) -> bool) {
        if self.mode == Mode::Lenient {
            return;
        }
        for (name, _) in members.iter().filter(|member| !known(&member.0)) {
            let mark = self.pointer.enter(name);
            self.refuse(Refusal::new(FaultCode::Unknown, "the schema has no such member; leave it out"));
            self.pointer.leave(mark);
        }
    }

    fn duration(&mut self, members: &[(Cow<'_, str>, Tree<'_>)], out: &mut String) {
        self.unknown_members(members, |name| DURATION.contains(&name));
        out.push('{');
        for (at, part) in DURATION.into_iter().enumerate() {
            separate(at > 0, part, out);
            let mark = self.pointer.enter(part);
            match self.only(members, part).map(|tree| accept(&Kind::Long, tree.given())) {
                Some(Ok(Value::Integer(number))) if u32::try_from(number).is_ok() => {
                    out.push_str(&number.to_string());
                }
                _ => self.expected("expected a whole number from 0 to 4294967295"),
            }
            self.pointer.leave(mark);
        }
        out.push('}');
    }

    /// The first branch that accepts. What is lenient still prefers a branch that needs no leniency, so that a value
    /// always finds the branch again that it was once accepted by.
    fn union(&mut self, branches: &[Shape], limits: &Limits, tree: &Tree<'_>, depth: usize, out: &mut String) {
        let mut others = branches.iter().filter(|branch| !matches!(branch, Shape::Null));
        if let (Some(only), None, false) = (others.next(), others.next(), tree.is_null()) {
            // Beside null its own faults say more than "none of these".
            return self.value(only, limits, tree, depth, out);
        }
        let outer = self.mode;
        let (faults, start) = (self.faults.len(), out.len());
        let modes: &[Mode] = if outer == Mode::Strict { &[Mode::Strict] } else { &[Mode::Strict, Mode::Lenient] };
        for mode in modes {
            for branch in branches {
                let pair = (std::ptr::from_ref(branch).addr(), std::ptr::from_ref(tree).addr(), *mode);
                if self.failed.contains(&pair) {
                    continue;
                }
                self.mode = *mode;
                self.value(branch, limits, tree, depth, out);
                self.mode = outer;
                if self.faults.len() == faults || self.steps > MAX_STEPS {
                    return;
                }
                self.failed.insert(pair);
                self.faults.truncate(faults);
                out.truncate(start);
            }
        }
        self.expected("none of the types that the schema allows here accepts this");
    }
}

fn separate(comma: bool, name: &str, out: &mut String) {
    if comma {
        out.push(',');
    }
    show_text(name, out);
    out.push(':');
}
