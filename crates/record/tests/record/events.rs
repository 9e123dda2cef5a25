//! What travels on the topic: frames, headers, poison.

use std::borrow::Cow;

use proptest::prelude::*;
use record::{
    Change, Decoded, Event, FrameFault, Headers, Origin, Reason, RecordId, SchemaId, Version, decode_frame,
    encode_frame,
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_frame_gives_back_what_it_was_made_of(schema: u32, datum: Vec<u8>) {
        let mut framed = Vec::new();
        encode_frame(SchemaId::new(schema), &datum, &mut framed);
        prop_assert_eq!(framed.len(), datum.len() + 5);
        prop_assert_eq!(decode_frame(&framed), Ok((SchemaId::new(schema), datum.as_slice())));
    }

    #[test]
    fn any_message_decodes_to_an_event_or_to_poison(
        key: Option<Vec<u8>>, value: Option<Vec<u8>>, version: Option<Vec<u8>>, op: Option<Vec<u8>>, origin: Option<Vec<u8>>
    ) {
        let headers = Headers { version: version.as_deref(), op: op.as_deref(), origin: origin.as_deref() };
        if let Decoded::Poison(poison) = Event::decode(key.as_deref(), value.as_deref(), headers) {
            prop_assert!(!poison.detail.is_empty());
        }
    }
}

#[test]
fn a_frame_is_confluents() {
    let mut framed = Vec::new();
    encode_frame(SchemaId::new(0x0102_0304), b"x", &mut framed);
    assert_eq!(framed, [0, 1, 2, 3, 4, b'x']);
    assert_eq!(decode_frame(b""), Err(FrameFault::Short));
    assert_eq!(decode_frame(&[0, 0, 0, 1]), Err(FrameFault::Short));
    assert_eq!(decode_frame(&[0xC3, 1, 0, 0, 0, 0]), Err(FrameFault::Magic));
}

#[test]
fn an_event_comes_back_from_its_message() {
    let change = Change::Upsert { schema: SchemaId::new(7), datum: Cow::Borrowed(b"datum".as_slice()) };
    for (change, op) in [(change, "upsert"), (Change::Tombstone, "delete")] {
        assert_eq!(change.op(), op);
        let value = change.to_value();
        for origin in [Origin::Write, Origin::Relay, Origin::Reassert, Origin::Redrive] {
            let headers =
                Headers { version: Some(b"32"), op: Some(op.as_bytes()), origin: Some(origin.as_str().as_bytes()) };
            let expected = Event {
                id: RecordId::parse("a").unwrap(),
                version: Version::new(32).unwrap(),
                origin,
                change: change.clone(),
            };
            assert_eq!(Event::decode(Some(b"a"), value.as_deref(), headers), Decoded::Event(expected));
        }
    }
}

#[test]
fn what_is_no_event_says_why() {
    let good = Headers { version: Some(b"16"), op: Some(b"upsert"), origin: None };
    let value: Option<&[u8]> = Some(&[0, 0, 0, 0, 1]);
    let key: Option<&[u8]> = Some(b"a");
    let version = |version| Headers { version: Some(version), ..good };
    let table: [(Option<&[u8]>, Option<&[u8]>, Headers<'_>, Reason); 13] = [
        (None, value, good, Reason::NoKey),
        (Some(b""), value, good, Reason::BadId),
        (Some(b"\xff"), value, good, Reason::BadId),
        (Some(b"a b"), value, good, Reason::BadId),
        (key, value, Headers { version: None, ..good }, Reason::NoVersion),
        (key, value, version(b"x"), Reason::BadVersion),
        (key, value, version(b"\xff"), Reason::BadVersion),
        (key, value, version(b"9007199254740992"), Reason::BadVersion),
        // 0 is an adopted row's, the low bits 15 are a purge mark's: no write has them.
        (key, value, version(b"0"), Reason::BadVersion),
        (key, value, version(b"31"), Reason::BadVersion),
        (key, Some(b""), good, Reason::BadFrame),
        (key, None, good, Reason::OpMismatch),
        (key, value, Headers { op: Some(b"delete"), ..good }, Reason::OpMismatch),
    ];
    for (key, value, headers, reason) in table {
        let Decoded::Poison(poison) = Event::decode(key, value, headers) else { panic!("{reason:?} expected") };
        assert_eq!(poison.reason, reason);
    }
    // A tombstone may answer for a purge mark; headers that are not needed may be missing, and a newer origin is no poison.
    let mark = Headers { version: Some(b"31"), op: None, origin: Some(b"newer") };
    let Decoded::Event(event) = Event::decode(key, None, mark) else { panic!() };
    assert_eq!((event.version.is_mark(), event.origin), (true, Origin::Write));
}

#[test]
fn every_reason_has_a_text_of_its_own() {
    let texts: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(texts.len(), Reason::ALL.len());
}
