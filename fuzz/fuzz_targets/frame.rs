//! Values of the topic: whatever stands there, it is a record or a fault, and a record is the same in every form.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((chosen, value)) = data.split_first() else { return Corpus::Reject };
    let entity = fuzz::entity(*chosen);
    let Ok((schema, datum)) = record::decode_frame(value) else { return Corpus::Keep };
    // Of so many ids most are nobody's.
    let schema = if entity.knows(schema) { schema } else { entity.newest_id() };
    if let Ok(record) = entity.read_avro(schema, datum) {
        fuzz::round_trip(entity, &record);
    }
    Corpus::Keep
});
