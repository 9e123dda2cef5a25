//! A merge patch (RFC 7396) as a client sends it: read whole, with the faults that a merge would hide.

use serde_json::{Map, Value as Json};

use super::body::{not_utf8, syntax};
use super::{Faults, Pointer, beyond};
use crate::fault::{Fault, FaultCode};
use crate::nested::Tree;
use crate::scalar::{Given, Refusal};

/// A merge patch.
#[derive(Debug, Clone, PartialEq)]
pub struct MergePatch {
    /// An object: the members that are to change. Of one that stands there twice, the first.
    pub members: Json,
    /// What is wrong with it whatever it is merged into: members that stand there twice.
    pub faults: Vec<Fault>,
}

impl MergePatch {
    /// Reads a client's body.
    ///
    /// # Errors
    /// What leaves nothing to be merged: text that is no JSON, numbers beyond every double, and what is no object, which would take
    /// the place of the whole record.
    pub fn parse(body: &[u8]) -> Result<Self, Vec<Fault>> {
        let text = std::str::from_utf8(body).map_err(|error| vec![not_utf8(body, error.valid_up_to())])?;
        let tree: Tree<'_> = serde_json::from_str(text)
            .map_err(|error| beyond::faults(text).unwrap_or_else(|| vec![syntax(error.to_string())]))?;
        let mut faults = Faults::default();
        if !matches!(tree, Tree::Object(_)) {
            let refusal = Refusal::new(FaultCode::Type, "expected an object with the members that are to change");
            faults.push(String::new(), refusal);
            return Err(faults.into_vec());
        }
        let members = once(tree, &mut Pointer::default(), &mut faults);
        Ok(Self { members, faults: faults.into_vec() })
    }
}

/// The tree with each member once, the first of its name, as in a body; as deep as the parser goes.
fn once(tree: Tree<'_>, pointer: &mut Pointer, faults: &mut Faults) -> Json {
    match tree {
        Tree::Scalar(given) => scalar(given),
        Tree::Array(items) => {
            let item = |(index, item)| {
                let mark = pointer.enter_index(index);
                let item = once(item, pointer, faults);
                pointer.leave(mark);
                item
            };
            items.into_iter().enumerate().map(item).collect()
        }
        Tree::Object(members) => {
            let mut kept = Map::new();
            for (name, member) in members {
                let mark = pointer.enter(&name);
                if kept.contains_key(&*name) {
                    faults.push(pointer.to_string(), Refusal::twice());
                } else {
                    let member = once(member, pointer, faults);
                    kept.insert(name.into_owned(), member);
                }
                pointer.leave(mark);
            }
            Json::Object(kept)
        }
    }
}

fn scalar(given: Given<'_>) -> Json {
    match given {
        Given::Bool(truth) => truth.into(),
        Given::Int(number) => number.into(),
        Given::Huge(number) => number.into(),
        Given::Single(number) => number.into(),
        Given::Double(number) => number.into(),
        Given::Text(text) => text.into(),
        // Arrays and objects are no scalars of a tree.
        Given::Null | Given::Array | Given::Object => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn faults(faults: Vec<Fault>) -> Vec<(String, &'static str)> {
        faults.into_iter().map(|fault| (fault.pointer, fault.code.as_str())).collect()
    }

    type Told = Vec<(String, &'static str)>;

    fn read(body: &str) -> Result<(Json, Told), Told> {
        MergePatch::parse(body.as_bytes()).map(|patch| (patch.members, faults(patch.faults))).map_err(faults)
    }

    fn at(pointer: &str, code: &'static str) -> (String, &'static str) {
        (pointer.to_owned(), code)
    }

    #[test]
    fn a_patch_is_an_object_and_what_is_not_says_why() {
        assert_eq!(read(r#"{"a":null}"#), Ok((json!({ "a": null }), vec![])));
        for whole in ["[]", "null", "1", "\"a\""] {
            assert_eq!(read(whole), Err(vec![at("", "type")]), "{whole}");
        }
        for malformed in ["", "{", "{}x", "{\"a\":01}"] {
            assert_eq!(read(malformed), Err(vec![at("", "syntax")]), "{malformed}");
        }
        assert_eq!(MergePatch::parse(b"{\"a\":\"\xff\"}").map_err(faults), Err(vec![at("", "syntax")]));
    }

    #[test]
    fn numbers_beyond_every_double_are_told_all_at_once_and_each_in_its_place() {
        let all = read(r#"{"a":1e400,"b":[{"c":-1e400}],"d":1}"#);
        assert_eq!(all, Err(vec![at("/a", "range"), at("/b/0/c", "range")]));
    }

    #[test]
    fn members_that_stand_there_twice_are_told_all_at_once_and_the_first_of_each_is_kept() {
        let body = r#"{"a":1,"b":{"c":1,"c":2,"d":[{"e":null,"e":1}]},"a":null,"a":3}"#;
        let kept = json!({ "a": 1, "b": { "c": 1, "d": [{ "e": null }] } });
        let twice = ["/b/c", "/b/d/0/e", "/a", "/a"].map(|pointer| at(pointer, "duplicate"));
        assert_eq!(read(body), Ok((kept, twice.to_vec())));
    }

    proptest! {
        #[test]
        fn a_patch_without_faults_is_what_any_parser_reads(value in "[{}\\[\\]\":,a-c0-9.eE \\-]{0,40}") {
            let plain: Option<Json> = serde_json::from_str(&format!("{{\"a\":{value}}}")).ok();
            if let Ok(patch) = MergePatch::parse(format!("{{\"a\":{value}}}").as_bytes()) && patch.faults.is_empty() {
                prop_assert_eq!(Some(patch.members), plain);
            }
        }
    }
}
