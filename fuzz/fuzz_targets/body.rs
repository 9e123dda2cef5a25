//! Bodies of requests: whatever comes, it is a record or a list of faults. A record is the same in every form, and once it is written
//! out it is accepted again.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(init: fuzz::seeds::plant("body", fuzz::seeds::bodies), |data: &[u8]| -> Corpus {
    let Some((chosen, body)) = data.split_first() else { return Corpus::Reject };
    let entity = fuzz::entity(*chosen);
    match entity.parse_json(body) {
        Ok(input) => {
            let text = fuzz::round_trip(entity, &input.record);
            let again = entity.parse_json(text.as_bytes()).expect("what was accepted is accepted");
            assert_eq!(again.record, input.record, "{text}");
        }
        Err(faults) => {
            assert!(!faults.is_empty() && faults.len() <= 101, "{} faults", faults.len());
            assert!(faults.iter().all(|fault| !fault.detail.is_empty()), "{faults:?}");
        }
    }
    Corpus::Keep
});
