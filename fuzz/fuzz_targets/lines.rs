//! Bodies of bulks, in any coding and in chunks: the same lines come out as stand in what was packed, whatever the chunks, and no
//! more is kept of a line than the longest that is taken has; what is no whole body is refused with 4xx. Each line is a record, a
//! deletion that means the same when it is written again, or a refusal with 4xx.
#![no_main]

use fuzz::seeds::{CODINGS, packed};
use ingest::http::fuzzing::{cut, deletion, refused_line};
use libfuzzer_sys::{Corpus, fuzz_target};
use record::Entity;

/// Bits of the second byte, above the coding.
const PACK: u8 = 4;
const CUT: u8 = 8;
const APPEND: u8 = 16;

fuzz_target!(init: fuzz::seeds::plant("lines", fuzz::seeds::lines), |data: &[u8]| -> Corpus {
    let Some(([chosen, flags, chunk, line_most, total_most, hurt], rest)) = data.split_first_chunk::<6>() else {
        return Corpus::Reject;
    };
    let entity = fuzz::entity(*chosen);
    let coding = CODINGS[usize::from(flags & 3) % CODINGS.len()];
    let line_most = usize::from(*line_most) * 8;
    let total_most = if *total_most == u8::MAX { u64::MAX } else { u64::from(*total_most) * 64 };
    let packs = coding != "identity" && flags & PACK != 0;
    let (mut body, mut plain) = if packs { (packed(coding, rest), Some(rest)) } else { (rest.to_vec(), None) };
    let mut broken = false;
    if packs && flags & CUT != 0 {
        let most = body.len() - 1;
        body.truncate(1 + usize::from(*hurt) % most);
        (broken, plain) = (true, None);
    } else if packs && flags & APPEND != 0 {
        body.push(*hurt);
        (broken, plain) = (true, None);
    }
    let body = body.as_slice();
    let plain = if coding == "identity" { Some(body) } else { plain };

    let chunks: Vec<&[u8]> = body.chunks(usize::from(*chunk) + 1).collect();
    let came = cut(coding, &chunks, line_most, total_most);
    assert!(came.kept <= line_most + 1, "{} bytes are kept of a line of at most {line_most}", came.kept);
    came.broken.into_iter().for_each(fuzz::refused);
    assert!(!broken || came.broken.is_some(), "{coding}: what is no whole body was taken for one");
    let whole = cut(coding, &[body], line_most, total_most);
    assert_eq!(came.broken.is_some(), whole.broken.is_some(), "it depends on the chunks");
    let both = came.lines.len().min(whole.lines.len());
    assert_eq!(came.lines[..both], whole.lines[..both], "it depends on the chunks");
    if let Some(plain) = plain {
        let expected = expected(plain, line_most);
        assert_eq!(came.lines[..], expected[..came.lines.len()]);
        let fits = plain.len() as u64 <= total_most;
        assert_eq!(came.broken, if fits { None } else { Some(413) });
        assert!(!fits || came.lines.len() == expected.len(), "lines are missing");
    }
    came.lines.iter().flatten().for_each(|text| line(entity, text));
    Corpus::Keep
});

/// `None`: too long.
fn expected(plain: &[u8], line_most: usize) -> Vec<Option<Vec<u8>>> {
    let mut lines: Vec<_> = plain.split(|byte| *byte == b'\n').collect();
    // What stands behind the last end is a line only if it is something.
    lines.pop_if(|last| last.is_empty());
    let text = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).to_vec();
    lines.into_iter().map(text).map(|line| Some(line).filter(|line| line.len() <= line_most)).collect()
}

fn line(entity: &Entity, text: &[u8]) {
    match deletion(text) {
        Ok(Some(id)) => {
            let written = format!("{{\"id\":\"{id}\",\"deleted\":true}}");
            assert_eq!(deletion(written.as_bytes()), Ok(Some(id)), "{written}");
        }
        Ok(None) => {
            if let Ok(input) = entity.parse_json(text) {
                fuzz::round_trip(entity, &input.record);
            }
        }
        Err(status) => fuzz::refused(status),
    }
    if let Some(told) = refused_line(entity, 7, text) {
        let told = told.strip_suffix('\n').expect("a result has an end");
        assert!(!told.contains('\n'), "two lines for one: {told}");
        let told: serde_json::Value = serde_json::from_str(told).expect("a result is JSON");
        assert_eq!(told["line"], 7, "{told}");
        fuzz::refused(told["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or_default());
    }
}
