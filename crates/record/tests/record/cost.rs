//! What a write allocates: its record, its stored text, its event and the event's value, one piece each, and not one for each
//! field.

use allocation_counter::measure;
use record::Entity;

use crate::house::{entity, users};

#[path = "../../benches/transcode/wide.rs"]
mod wide;

/// Allocations of a body that is read, of its stored text, of its event, of the event's value, and of a datum that is read.
fn allocations(entity: &Entity, body: &str) -> [u64; 5] {
    let (mut input, mut change) = (None, None);
    let read = measure(|| input = entity.parse_json(body.as_bytes()).ok());
    let record = input.unwrap().record;
    let stored = measure(|| entity.write_json(&record, &mut String::new()));
    let event = measure(|| change = Some(entity.change(Some(&record))));
    let value = measure(|| drop(change.as_ref().unwrap().to_value()));
    let mut datum = Vec::with_capacity(1024);
    entity.write_avro(&record, &mut datum);
    let taken = measure(|| drop(entity.read_avro(entity.newest_id(), &datum)));
    [read, stored, event, value, taken].map(|cost| cost.count_total)
}

#[test]
fn a_write_allocates_once_for_each_form_and_not_for_each_field() {
    let name = r#""name":"Johannes Doe","age":30"#;
    let all = format!(r#"{{{name},"occupation":"Engineer","first_name":"Johannes","last_name":"Doe"}}"#);
    assert_eq!(allocations(&users(), &all), [1, 1, 1, 1, 1]);
    assert_eq!(allocations(&users(), &format!("{{ {name} }}")), [1, 1, 1, 1, 1], "defaults");
    let backwards = format!(r#"{{"last_name":"Doe","first_name":"Johannes","occupation":null,{name}}}"#);
    assert_eq!(allocations(&users(), &backwards), [1, 1, 1, 1, 1], "in another order");
    let template = allocations(&users(), r#"{"age":30,"first_name":"Johannes","last_name":"Doe"}"#);
    assert_eq!(template, [3, 1, 1, 1, 1], "a name that is put together grows once");
}

/// Of fifty fields: an escaped text, with the parser's room for it; two decimals, as numbers and as texts; an enum's symbol.
#[test]
fn a_wide_record_allocates_beyond_that_only_for_what_cannot_be_borrowed() {
    let wide = entity(&[&wide::schema()]);
    assert_eq!(allocations(&wide, &wide::body()), [4, 1, 3, 1, 8]);
}
