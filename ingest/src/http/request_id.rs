//! The name of one request, which its client and our log share.

use std::fmt::Write as _;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Bytes;

/// As it is asked for and answered.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest one that is taken from a client.
const BYTES_MOST: usize = 128;

/// Visible ASCII. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own, if it is one such value of 1 to 128 visible characters of ASCII; else one made of `random`.
    pub(super) fn of(headers: &HeaderMap, random: impl FnOnce() -> u128) -> Self {
        let mut sent = headers.get_all(X_REQUEST_ID);
        match (sent.next(), sent.next()) {
            (Some(id), None) if is_taken(id.as_bytes()) => Self(id.clone()),
            _ => Self(made(random())),
        }
    }

    /// As a header has it.
    pub(super) fn value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// As a log has it.
    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The problem with its `instance` (RFC 9457, 3.1.5): a name like that of its `type`, which leads nowhere.
    pub(super) fn named(&self, problem: &Bytes) -> Bytes {
        let Some(members) = problem.strip_suffix(b"}") else { return problem.clone() };
        [members, b",\"instance\":\"", self.urn().as_bytes(), b"\"}"].concat().into()
    }

    /// What a URN has no room for is escaped; so JSON has nothing to escape any more.
    fn urn(&self) -> String {
        let mut urn = "urn:write-behind:request:".to_owned();
        for letter in self.as_str().chars() {
            if letter.is_ascii_alphanumeric() || "-._~".contains(letter) {
                urn.push(letter);
            } else {
                // Writing to a string never fails.
                write!(urn, "%{:02X}", u32::from(letter)).ok();
            }
        }
        urn
    }
}

fn is_taken(id: &[u8]) -> bool {
    (1..=BYTES_MOST).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// 128 bits in hex.
fn made(random: u128) -> HeaderValue {
    let mut text = [0; 32];
    let hex = hex::encode_to_slice(random.to_be_bytes(), &mut text).ok();
    hex.and_then(|()| HeaderValue::from_bytes(&text).ok()).unwrap_or(HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn read(sent: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        sent.iter().for_each(|id| headers.append(X_REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap()));
        RequestId::of(&headers, || 0xfe).as_str().to_owned()
    }

    #[test]
    fn a_client_names_its_request_with_up_to_128_visible_characters_and_else_it_is_named() {
        let (made, longest) = (format!("{:032x}", 0xfe), "~".repeat(128));
        assert_eq!(read(&["Order-4711/\"x\""]), "Order-4711/\"x\"");
        assert_eq!(read(&[&longest]), longest, "at the bound");
        let too_long = "~".repeat(129);
        for none in [&[][..], &[""], &["a b"], &["a\tb"], &["ä"], &[&too_long], &["a", "b"]] {
            assert_eq!(read(none), made, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn a_problem_with_its_instance_is_json_and_keeps_its_members(id in "[!-~]{1,128}", detail in ".*") {
            let problem = serde_json::json!({ "detail": detail, "status": 404 });
            let named = RequestId(HeaderValue::from_str(&id).unwrap()).named(&problem.to_string().into());
            let mut named: Value = serde_json::from_slice(&named).unwrap();
            let instance = named.as_object_mut().unwrap().remove("instance").unwrap();
            prop_assert_eq!(named, problem);
            let escaped = instance.as_str().unwrap().strip_prefix("urn:write-behind:request:").unwrap().to_owned();
            let url = url::Url::parse(&format!("http://i/?id={escaped}")).unwrap();
            prop_assert_eq!(url.query_pairs().next().unwrap().1, id);
        }
    }
}
