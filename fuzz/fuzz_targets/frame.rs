//! Messages of the topic: whatever stands there, it is an event or poison that says why. An event means the same when it is written
//! again, and the record that it brings is the same in every form.
#![no_main]

use fuzz::message::Message;
use libfuzzer_sys::{Corpus, fuzz_target};
use record::{Change, Decoded, Event, Headers};

fuzz_target!(init: fuzz::seeds::plant("frame", fuzz::seeds::messages), |data: &[u8]| -> Corpus {
    let Some((chosen, message)) = data.split_first() else { return Corpus::Reject };
    let Some(message) = Message::read(message) else { return Corpus::Reject };
    let entity = fuzz::entity(*chosen);
    let headers = Headers { version: message.version, op: message.op, origin: message.origin };
    let event = match Event::decode(message.key, message.value, headers) {
        Decoded::Event(event) => event,
        Decoded::Poison(poison) => {
            assert!(!poison.detail.is_empty(), "{:?} says nothing", poison.reason);
            return Corpus::Keep;
        }
    };
    let (value, version) = (event.change.to_value(), event.version.to_string());
    let headers = Headers {
        version: Some(version.as_bytes()),
        op: Some(event.change.op().as_bytes()),
        origin: Some(event.origin.as_str().as_bytes()),
    };
    let again = Event::decode(Some(event.id.as_str().as_bytes()), value.as_deref(), headers);
    assert_eq!(again, Decoded::Event(event.clone()), "written again it is something else");
    if let Change::Upsert { schema, datum } = &event.change {
        // Of so many ids most are nobody's.
        let schema = if entity.knows(*schema) { *schema } else { entity.newest_id() };
        if let Ok(record) = entity.read_avro(schema, datum) {
            fuzz::round_trip(entity, &record);
        }
    }
    Corpus::Keep
});
