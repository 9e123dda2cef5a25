//! Heads of requests, a header or the query a line: each is taken or refused with 4xx. What is taken means the same when it is
//! written again.
#![no_main]

use ingest::http::fuzzing::{Written, asked, conditions, headers, ids, of_body, shown};
use libfuzzer_sys::fuzz_target;
use record::RecordId;

/// What a line's first byte stands for; above them all, the query.
const NAMES: [&str; 9] = [
    "idempotency-key",
    "if-match",
    "if-none-match",
    "prefer",
    "min-version",
    "authorization",
    "content-type",
    "content-encoding",
    "traceparent",
];
const IDS_MOST: usize = 3;

fuzz_target!(init: fuzz::seeds::plant("headers", Vec::new), |data: &[u8]| {
    let id = RecordId::parse("1").expect("an id");
    let lines = data.split(|byte| *byte == b'\n').filter_map(|line| line.split_first());
    let mut sent = Vec::new();
    for (chosen, value) in lines {
        match NAMES.get(usize::from(chosen.wrapping_sub(b'0'))) {
            Some(name) => sent.push((*name, value)),
            None => query(&String::from_utf8_lossy(value)),
        }
    }
    again(&sent, |sent| conditions(&headers(sent.iter().copied()), &id));
    again(&sent, |sent| asked(&headers(sent.iter().copied())));
    again(&sent, |sent| of_body(&headers(sent.iter().copied())));
    again(&sent, |sent| Ok(shown(&headers(sent.iter().copied()))));
});

fn again(sent: &[(&'static str, &[u8])], read: impl Fn(&[(&'static str, &[u8])]) -> Result<Written, u16>) {
    match read(sent) {
        Ok(written) => {
            let sent: Vec<_> = written.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            assert_eq!(read(&sent), Ok(written.clone()), "written again it is something else");
        }
        Err(status) => fuzz::refused(status),
    }
}

fn query(text: &str) {
    match ids(text, IDS_MOST) {
        Ok(written) => {
            assert!(written.split(',').count() <= IDS_MOST, "too many: {written}");
            assert_eq!(ids(&written, IDS_MOST), Ok(written.clone()), "written again they are others");
        }
        Err(status) => fuzz::refused(status),
    }
}
